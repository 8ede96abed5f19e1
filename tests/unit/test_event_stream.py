"""The body of a stream: held until opened, sent from the callback, blocked by a reader that stops."""

import asyncio
from typing import Any

import pytest

from dynamo_fe.http.event_stream import EventStream, StalledReader
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.ops.alarms import Alarms


class Instant:
    """What Granian's send returns when the chunk is in its channel already."""

    def __await__(self) -> Any:
        return
        yield


class Client:
    """Records what is sent; `full` makes the next sends wait, as a full channel does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.last_more = True
        self.waiting: asyncio.Future[None] | None = None
        self.full = False

    def send(self, message: Any) -> Any:
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])
            self.last_more = message.get("more_body", False)
            if self.full:
                self.waiting = asyncio.get_running_loop().create_future()
                return self.waiting
        return Instant()


def opened(
    client: Client, calls: list[str], keep_alive_secs: float = 0, patience_secs: float | None = None
) -> EventStream:
    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": []}
    exchange = Exchange(scope, None, client.send)  # type: ignore[arg-type]
    exchange.patience_secs = patience_secs
    loop = asyncio.get_running_loop()
    keep_alives = Alarms(loop, keep_alive_secs, EventStream.keep_alive) if keep_alive_secs else None
    return EventStream(exchange, lambda: calls.append("pause"), lambda: calls.append("resume"), keep_alives)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_held_frames_leave_together_and_later_ones_at_once() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls)
    events.feed(b"a")
    events.feed(b"b")
    shown: list[list[bytes]] = []
    running = asyncio.create_task(events.run(lambda: shown.append(list(client.bodies))))
    await turn()
    assert client.bodies == [b"ab"] and shown == [[b"ab"]]
    events.feed(b"c")
    assert client.bodies == [b"ab", b"c"]
    events.close(b"end")
    await running
    assert client.bodies == [b"ab", b"c", b"end"] and not client.last_more and calls == []


async def test_a_reader_that_stops_pauses_the_worker_until_it_reads_on() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls)
    running = asyncio.create_task(events.run(lambda: None))
    await turn()
    client.full = True
    events.feed(b"a")
    assert calls == ["pause"]
    events.feed(b"b")
    events.feed(b"c")
    await turn()
    assert client.bodies == [b"a"] and calls == ["pause"]
    client.full = False
    assert client.waiting is not None
    client.waiting.set_result(None)
    await turn()
    assert client.bodies == [b"a", b"bc"] and calls == ["pause", "resume"]
    events.close(b"end")
    await running
    assert client.bodies[-1] == b"end"


async def test_a_stream_that_ends_while_blocked_loses_nothing() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls)
    running = asyncio.create_task(events.run(lambda: None))
    await turn()
    client.full = True
    events.feed(b"a")
    events.feed(b"b")
    events.close(b"end")
    client.full = False
    assert client.waiting is not None
    client.waiting.set_result(None)
    await running
    assert b"".join(client.bodies) == b"abend"


async def test_a_server_whose_send_is_a_coroutine_is_served_too() -> None:
    client, calls = Client(), list[str]()

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        client.send(message)

    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": []}
    events = EventStream(
        Exchange(scope, None, send),  # type: ignore[arg-type]
        lambda: calls.append("pause"),
        lambda: calls.append("resume"),
        None,
    )
    running = asyncio.create_task(events.run(lambda: None))
    await turn()
    for letter in (b"a", b"b", b"c"):
        events.feed(letter)
        await turn()
    events.close(b"end")
    await running
    assert b"".join(client.bodies) == b"abcend"


async def test_silence_is_filled_with_comments() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls, keep_alive_secs=0.02)
    running = asyncio.create_task(events.run(lambda: None))
    async with asyncio.timeout(5):
        while client.bodies.count(b":\n\n") < 3:
            await asyncio.sleep(0.005)
    events.close(b"end")
    await running
    seen = len(client.bodies)
    await asyncio.sleep(0.06)
    assert len(client.bodies) == seen


async def test_what_had_to_wait_goes_on_in_parts() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls)
    events.feed(b"a" * 40_000)
    running = asyncio.create_task(events.run(lambda: None))
    await turn()
    assert [len(body) for body in client.bodies] == [16384, 16384, 7232]
    events.close(b"b" * 20_000)
    await running
    assert [len(body) for body in client.bodies[3:]] == [16384, 3616] and not client.last_more


async def test_a_client_that_takes_nothing_is_waited_for_as_long_as_said() -> None:
    client, calls = Client(), list[str]()
    events = opened(client, calls, patience_secs=0.05)
    running = asyncio.create_task(events.run(lambda: None))
    await turn()
    client.full = True
    events.feed(b"a")
    assert calls == ["pause"]
    with pytest.raises(StalledReader):
        await running
    events.feed(b"b")
    events.close(b"c")
    assert client.bodies == [b"a"]
