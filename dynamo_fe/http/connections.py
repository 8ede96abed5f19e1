"""Closes client connections that are of no use any more: silent before a whole request head, idle for too long between
requests, or taking nothing of what waits for them; idle at all, when all that may be open are.

The HTTP server has a timer for a whole head only, which cuts a slow sender that progresses, and none at all while it
still tells HTTP/1.1 from HTTP/2. So the kernel is asked: TCP_INFO says when the last byte came and how much the other
side has taken. Closing a socket from here is to the server a client that went, with all that follows from that.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

_log = logging.getLogger("dynamo_fe.http")

# address and port as the HTTP server writes them into a request's scope
Peer: TypeAlias = tuple[str, str]

_FD_DIRECTORY: Final = "/proc/self/fd"
# struct tcp_info of Linux >= 4.6: state, unacked, last_data_recv (ms), bytes_acked, notsent_bytes
_TCP_INFO: Final = struct.Struct("@B23xI24xI64xQ16xI")
# ESTABLISHED and CLOSE_WAIT: not closed from this side yet
_OPEN_STATES: Final = (1, 8)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_SWEEPS_A_LIMIT: Final = 6
_MAX_PAUSE_SECS: Final = 5.0
# connections looked at before others get their turn; 5 µs each
_AT_ONCE: Final = 100
# data that arrived so long after the end of the last answer is the beginning of a next head
_AFTER_ANSWER_SECS: Final = 0.5
# in which a client that has its answer may ask again while this end of the connection is about to be closed
_NEXT_REQUEST_SECS: Final = 1.0
# with all connections in use: who is silent for so long may have to go, a part of them at a time
_FULL_PAUSE_SECS: Final = 1.0
_ROOM_SHARE: Final = 8


class Limits(NamedTuple):
    """Seconds a connection may be silent: before its first whole head (or in the middle of one), between requests, and
    while something waits to be taken."""

    head_idle_secs: float
    keep_alive_secs: float
    stalled_reader_secs: float

    @property
    def whole_head_secs(self) -> float:
        """What a head may take however well it progresses: over HTTP/2 it may grow for ever, by a byte now and then."""
        return self.keep_alive_secs + 2 * self.head_idle_secs


class TcpState(NamedTuple):
    """What the kernel knows of a connection."""

    silent_secs: float
    taken_bytes: int
    waiting: bool
    open: bool


@dataclass(slots=True)
class _Known:
    """A connection that has sent a whole head. `running`: requests without an end."""

    running: int = 0
    ended: float = 0.0
    multiplexed: bool = False


@dataclass(slots=True)
class _Reader:
    taken_bytes: int
    since: float


class Connections:
    """The open connections of one listening port, `most` at a time, under these `limits`: beyond that the server
    takes none. `begin` and `end` come from the application.
    """

    def __init__(self, limits: Limits, most: int) -> None:
        self.limits = limits
        self._most = most
        self._full = False
        self._known: dict[Peer, _Known] = {}
        self._readers: dict[Peer, _Reader] = {}
        # those that have not sent a whole head yet, with the time when they were seen first
        self._unheard: dict[Peer, float] = {}
        self._port: int | None = None
        # `stalled_stream`: of one stream of an HTTP/2 connection, which its own request ends
        self.closed = {"head": 0, "keep_alive": 0, "stalled_reader": 0, "stalled_stream": 0, "full": 0}

    def begin(self, peer: Peer, multiplexed: bool) -> None:
        """A request's head has come from there."""
        known = self._known.get(peer)
        if known is None:
            known = self._known[peer] = _Known(multiplexed=multiplexed)
            self._unheard.pop(peer, None)
        known.running += 1

    def end(self, peer: Peer, now: float) -> None:
        """It was answered, or its client has gone."""
        known = self._known.get(peer)
        if known is not None:
            known.running -= 1
            known.ended = now

    async def watch(self, port: int) -> None:
        """Looks after the connections of that local port until cancelled."""
        self._port = port
        pause_secs = min(min(self.limits) / _SWEEPS_A_LIMIT, _MAX_PAUSE_SECS)
        while True:
            await asyncio.sleep(min(pause_secs, _FULL_PAUSE_SECS) if self._full else pause_secs)
            await self._sweep(port)

    def open_now(self) -> int:
        """How many are open on the watched port, asked of the kernel: 5 µs each."""
        return 0 if self._port is None else self._count(self._port, lambda _: True)

    def unheard(self, port: int) -> int:
        """How many are open and have not sent a whole head yet."""
        return self._count(port, lambda peer: peer not in self._known)

    def hopeful(self, port: int) -> int:
        """How many are open between two requests, and for a short time only: clients that go on do so at once. Over
        HTTP/2 the server says what it still takes.
        """
        since = asyncio.get_running_loop().time() - _NEXT_REQUEST_SECS
        among = {
            peer
            for peer, known in self._known.items()
            if not known.running and not known.multiplexed and known.ended > since
        }
        return self._count(port, among.__contains__) if among else 0

    def _count(self, port: int, wanted: Callable[[Peer], bool]) -> int:
        count = 0
        for descriptor in _descriptors():
            with _connection(descriptor, port) as found:
                if found is not None and wanted(found[1]) and _state_of(found[0]).open:
                    count += 1
        return count

    async def _sweep(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        seen: set[Peer] = set()
        idle: list[tuple[float, int, Peer]] = []
        for count, descriptor in enumerate(_descriptors()):
            if count % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            with _connection(descriptor, port) as found:
                if found is None:
                    continue
                connection, peer = found
                state = _state_of(connection)
                if not state.open:
                    continue
                seen.add(peer)
                reason = self._verdict(peer, state, loop.time())
                if reason is not None and _cut(connection, peer, abort=reason == "stalled_reader"):
                    self.closed[reason] += 1
                elif state.silent_secs > _FULL_PAUSE_SECS and not self._running(peer):
                    idle.append((state.silent_secs, descriptor, peer))
        self._make_room(len(seen), idle, port)
        for peer in self._known.keys() - seen:
            if not self._known[peer].running:
                del self._known[peer]
        for peer in self._readers.keys() - seen:
            del self._readers[peer]
        for peer in self._unheard.keys() - seen:
            del self._unheard[peer]

    def _running(self, peer: Peer) -> bool:
        known = self._known.get(peer)
        return known is not None and known.running > 0

    def _make_room(self, count: int, idle: list[tuple[float, int, Peer]], port: int) -> None:
        """Where all connections are in use, nobody else gets in, the probes of an orchestrator neither."""
        if count < self._most:
            # those that wait take soon what was closed for them: only with half of them free it is over
            self._full = self._full and count > self._most // 2
            return
        if not self._full:
            self._full = True
            _log.warning("all %d connections are in use: new ones wait, those that are idle are closed", self._most)
        for _, descriptor, peer in heapq.nlargest(self._most // _ROOM_SHARE + 1, idle):
            with _connection(descriptor, port) as found:
                if found is not None and found[1] == peer and _cut(found[0], peer, abort=False):
                    self.closed["full"] += 1

    def _verdict(self, peer: Peer, state: TcpState, now: float) -> str | None:
        """Why the connection is to be closed, None to let it be."""
        limits = self.limits
        if self._stalled(peer, state, now):
            return "stalled_reader"
        known = self._known.get(peer)
        if known is None:
            unheard_secs = now - self._unheard.setdefault(peer, now)
            late = state.silent_secs > limits.head_idle_secs or unheard_secs > limits.whole_head_secs
            return "head" if late else None
        if known.running:
            return None
        half_sent = now - state.silent_secs > known.ended + _AFTER_ANSWER_SECS
        if half_sent and not known.multiplexed and state.silent_secs > limits.head_idle_secs:
            return "head"
        # over HTTP/2 pings go to and fro while a client leaves an answer where it is
        silent = known.multiplexed or state.silent_secs > limits.keep_alive_secs
        return "keep_alive" if silent and now - known.ended > limits.keep_alive_secs else None

    def _stalled(self, peer: Peer, state: TcpState, now: float) -> bool:
        if not state.waiting:
            self._readers.pop(peer, None)
            return False
        reader = self._readers.get(peer)
        if reader is None or reader.taken_bytes != state.taken_bytes:
            self._readers[peer] = _Reader(state.taken_bytes, now)
            return False
        return now - reader.since > self.limits.stalled_reader_secs


def _descriptors() -> Iterable[int]:
    """Those that are open; when not even a directory can be opened, all that may be."""
    try:
        return map(int, os.listdir(_FD_DIRECTORY))
    except OSError:
        return range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _state_of(connection: socket.socket) -> TcpState:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    state, unacked, silent_ms, taken, notsent = _TCP_INFO.unpack(info)
    return TcpState(silent_ms / 1000, taken, unacked > 0 or notsent > 0, state in _OPEN_STATES)


@contextlib.contextmanager
def _connection(descriptor: int, port: int) -> Iterator[tuple[socket.socket, Peer] | None]:
    """The descriptor as a socket, borrowed, with its peer; None if it is no connection of that local port."""
    borrowed = None
    try:
        borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
        if borrowed.getsockname()[1] != port:
            found = None
        else:
            found = borrowed, _peer_of(borrowed.getpeername())
    except (OSError, IndexError, TypeError):
        found = None
    try:
        yield found
    except OSError:
        return  # closed by its owner meanwhile
    finally:
        if borrowed is not None:
            borrowed.detach()


def _peer_of(address: tuple[str, int] | tuple[str, int, int, int]) -> Peer:
    """A socket's address as the HTTP server writes it: without the interface of a link-local one."""
    return address[0].partition("%")[0], str(address[1])


def _cut(connection: socket.socket, peer: Peer, abort: bool) -> bool:
    """Closes the connection; `abort`: with a reset, so that the kernel keeps nothing for it. The descriptor's owner may
    have closed it and the number may be another's by now: so a copy is made and asked once more who it is."""
    try:
        number = os.dup(connection.fileno())
    except OSError:
        return False  # no file is left to be opened
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, number) as copy:
        try:
            if _peer_of(copy.getpeername()) != peer:
                return False
            if abort:
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True
