"""Which connections are of no use any more: real sockets, and limits of fractions of a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from dynamo_fe.http.connections import Connections, Limits, Peer

PATIENCE_SECS = 10.0


class Pair:
    """Both ends of one connection to the watched port."""

    def __init__(self, listener: socket.socket, address: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.client = socket.socket(family, socket.SOCK_STREAM)
        self.client.connect(address)
        self.server, _ = listener.accept()
        self.client.setblocking(False)
        self.server.setblocking(False)

    @property
    def peer(self) -> Peer:
        name = self.server.getpeername()
        return name[0], str(name[1])

    async def closed(self) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            loop = asyncio.get_running_loop()
            while await loop.sock_recv(self.client, 1 << 16):
                pass

    def close(self) -> None:
        self.client.close()
        self.server.close()


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listener:
        yield listener


@asynccontextmanager
async def watched(connections: Connections, listener: socket.socket) -> AsyncIterator[None]:
    watching = asyncio.create_task(connections.watch(listener.getsockname()[1]))
    try:
        yield
    finally:
        watching.cancel()


def limits(head: float = 60, keep_alive: float = 60, stalled: float = 60, most: int = 1000) -> Connections:
    """The shortest limit fixes how often the watch looks."""
    return Connections(Limits(head, keep_alive, stalled), most)


def reasons(connections: Connections) -> dict[str, int]:
    return {reason: count for reason, count in connections.closed.items() if count}


@pytest.mark.parametrize(
    ("listen", "connect"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")]
)
async def test_one_that_runs_a_request_is_let_be_and_a_silent_one_is_closed(listen: str, connect: str) -> None:
    connections = limits(head=0.3)
    with listening(listen) as listener:
        address = (connect, listener.getsockname()[1])
        busy, silent = Pair(listener, address), Pair(listener, address)
        connections.begin(busy.peer, multiplexed=False)
        async with watched(connections, listener):
            await silent.closed()
            await asyncio.sleep(0.5)
            with pytest.raises(BlockingIOError):
                busy.client.recv(1)
        assert reasons(connections) == {"head": 1}
        busy.close()
        silent.close()


async def test_one_between_requests_has_the_longer_limit() -> None:
    connections = limits(head=0.2, keep_alive=1.0)
    loop = asyncio.get_running_loop()
    with listening() as listener:
        pair = Pair(listener, listener.getsockname())
        connections.begin(pair.peer, multiplexed=False)
        begun = loop.time()
        connections.end(pair.peer, begun)
        async with watched(connections, listener):
            await pair.closed()
        assert loop.time() - begun >= 1.0
        assert connections.closed["keep_alive"] == 1
        pair.close()


@pytest.mark.parametrize(("multiplexed", "reason"), [(False, "head"), (True, "keep_alive")])
async def test_half_a_head_behind_an_answer(multiplexed: bool, reason: str) -> None:
    """In HTTP/2 what comes between requests may be a ping or a window."""
    connections = limits(head=0.2, keep_alive=2.0)
    loop = asyncio.get_running_loop()
    with listening() as listener:
        pair = Pair(listener, listener.getsockname())
        connections.begin(pair.peer, multiplexed)
        connections.end(pair.peer, loop.time())
        await asyncio.sleep(0.7)
        pair.client.send(b"GET /")
        async with watched(connections, listener):
            await pair.closed()
        assert connections.closed[reason] == 1
        pair.close()


async def test_a_head_has_an_end_however_well_it_progresses() -> None:
    connections = limits(head=0.3, keep_alive=0.5)
    with listening() as listener:
        pair = Pair(listener, listener.getsockname())

        async def dribble() -> None:
            while True:
                pair.client.send(b"a")
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with watched(connections, listener):
            await pair.closed()
        dribbling.cancel()
        assert loop.time() - begun > 1.0
        assert reasons(connections) == {"head": 1}
        pair.close()


async def test_a_reader_that_takes_nothing_is_cut_and_one_that_takes_some_is_not() -> None:
    connections = limits(stalled=0.5)
    with listening() as listener:
        stalled, slow = Pair(listener, listener.getsockname()), Pair(listener, listener.getsockname())
        for pair in (stalled, slow):
            connections.begin(pair.peer, multiplexed=False)
            with pytest.raises(BlockingIOError):
                while True:
                    pair.server.send(bytes(1 << 16))
        async with watched(connections, listener):
            async with asyncio.timeout(PATIENCE_SECS):
                while not connections.closed["stalled_reader"]:
                    if not slow.client.recv(1 << 15):
                        raise AssertionError("the slow reader was cut")
                    await asyncio.sleep(0.1)
            with pytest.raises(OSError):
                stalled.server.send(b"x")
        assert reasons(connections) == {"stalled_reader": 1}
        stalled.close()
        slow.close()


async def test_connections_of_other_ports_are_none_of_its_business() -> None:
    connections = limits(head=0.2)
    with listening() as listener, listening() as other:
        mine, foreign = Pair(listener, listener.getsockname()), Pair(other, other.getsockname())
        async with watched(connections, listener):
            await mine.closed()
            with pytest.raises(BlockingIOError):
                foreign.client.recv(1)
        mine.close()
        foreign.close()


async def test_the_open_ones_are_counted_when_asked() -> None:
    connections = limits()
    with listening() as listener:
        assert connections.open_now() == 0
        async with watched(connections, listener):
            await asyncio.sleep(0)
            pairs = [Pair(listener, listener.getsockname()) for _ in range(3)]
            assert connections.open_now() == 3
            for pair in pairs[1:]:
                pair.close()
            assert connections.open_now() == 1
            pairs[0].close()
            assert connections.open_now() == 0


async def test_with_all_connections_in_use_the_longest_idle_goes(caplog: pytest.LogCaptureFixture) -> None:
    connections = limits(keep_alive=1.2, most=3)
    later = asyncio.get_running_loop().time() + 3600
    with listening() as listener:
        busy, idle, silent = (Pair(listener, listener.getsockname()) for _ in range(3))
        for pair in (busy, idle):
            connections.begin(pair.peer, multiplexed=False)
        connections.end(idle.peer, later)
        await asyncio.sleep(0.3)
        silent.client.send(b"still")
        async with watched(connections, listener):
            await idle.closed()
            with pytest.raises(BlockingIOError):
                busy.client.recv(1)
        assert connections.closed["full"] == 1
        for pair in (busy, idle, silent):
            pair.close()
    assert caplog.text.count("all 3 connections are in use") == 1


async def test_places_that_are_taken_again_are_no_other_time_that_all_are_in_use(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connections = limits(head=0.3, most=6)
    busy: list[Pair] = []
    with listening() as listener:

        def fill() -> None:
            while len(busy) < 6:
                busy.append(Pair(listener, listener.getsockname()))
                connections.begin(busy[-1].peer, multiplexed=False)

        async def told(free: int) -> int:
            """How often it was told when so many were free for a while, and then none."""
            for _ in range(free):
                busy.pop().close()
            await seen(listener)
            fill()
            await seen(listener)
            return caplog.text.count("all 6 connections are in use")

        async with watched(connections, listener):
            assert await told(0) == 1
            assert await told(2) == 1
            assert await told(5) == 2
        for pair in busy:
            pair.close()


async def seen(listener: socket.socket) -> None:
    """Returns when the watch has looked: it closes one that says nothing."""
    silent = Pair(listener, listener.getsockname())
    await silent.closed()
    silent.close()
