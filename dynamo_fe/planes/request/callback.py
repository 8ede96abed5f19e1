"""The call-back listener: workers connect to it and say in their first frame which stream they answer."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import cast

import orjson

from dynamo_fe.planes.host import resolve_host
from dynamo_fe.planes.request.callback_tls import TlsDoor
from dynamo_fe.planes.request.options import PlaneOptions
from dynamo_fe.planes.request.stream import ResponseStream, reset

log = logging.getLogger("dynamo_fe.planes")

_PREFIX = struct.Struct(">QQQ")
# a handshake holds a UUID and a word; whoever is not known yet cannot make us keep more than this
HANDSHAKE_LIMIT_BYTES = 4096
MAX_STRANGERS = 8192
TLS_HELLO = b"\x16\x03"


class HandshakeError(ValueError):
    """The first frame is no handshake."""


def read_handshake(data: bytes) -> tuple[str, bytes] | None:
    """(subject, the bytes after it) of a connection's first frame, None while it is cut. Raises HandshakeError."""
    if len(data) < _PREFIX.size:
        return None
    header_bytes, data_bytes, _ = _PREFIX.unpack_from(data)
    if data_bytes or not 0 < header_bytes <= HANDSHAKE_LIMIT_BYTES:
        raise HandshakeError(f"first frame has {header_bytes} header and {data_bytes} data bytes")
    end = _PREFIX.size + header_bytes
    if len(data) < end:
        return None
    try:
        header = orjson.loads(data[_PREFIX.size : end])
    except orjson.JSONDecodeError as error:
        raise HandshakeError(f"not JSON: {error}") from None
    if not isinstance(header, dict) or header.get("stream_type") != "response":
        raise HandshakeError("not a response stream")
    subject = header.get("subject")
    if not isinstance(subject, str):
        raise HandshakeError("no subject")
    return subject, data[end:]


class Stranger(asyncio.Protocol):
    """A connection that has not said yet which stream it is."""

    __slots__ = ("_listener", "_pending", "transport")

    def __init__(self, listener: CallbackListener) -> None:
        self._listener = listener
        self._pending = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._listener.arrived(self)

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        try:
            found = read_handshake(data)
        except HandshakeError as error:
            peer = self.transport.get_extra_info("peername") if self.transport is not None else None
            self._listener.refuse(self, str(error))
            if data.startswith(TLS_HELLO) and peer:
                self._listener.failed(peer[0], "the worker speaks TLS, this port does not")
            return
        if found is None:
            self._pending = data
        else:
            self._listener.introduced(self, *found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.gone(self)


class CallbackListener:
    """One listening socket for all streams of the process.

    `find` gives the stream of a subject that still waits for its call-back; without one the connection is reset, as it
    is when no handshake comes in time. `on_failed` hears of each peer whose call-back failed for TLS: its address and
    why.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: PlaneOptions,
        find: Callable[[str], ResponseStream | None],
        on_failed: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._find = find
        self._on_failed = on_failed
        self._door: TlsDoor | None = None
        self._server: asyncio.Server | None = None
        # in the order of arrival, so the oldest is the first
        self._strangers: dict[Stranger, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""
        self.refused_total = 0

    async def start(self) -> None:
        """Raises OSError if the socket cannot be opened, ValueError for an address that means nothing to a worker."""
        host = resolve_host(self._options.listen_host)
        backlog = self._options.listen_backlog
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, self._options.listen_port), family=family, backlog=backlog)
        port = listener.getsockname()[1]
        if self._options.listen_tls is not None:
            self._door = TlsDoor(self._loop, self._options, self._greeter, self.failed, MAX_STRANGERS)
            self._door.open(listener)
        else:
            self._server = await self._loop.create_server(self._greeter, sock=listener, backlog=backlog)
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("workers call back at %s%s", self.address, "" if self._door is None else " by TLS")

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._door is not None:
            self._door.close()
        for stranger in list(self._strangers):
            self._drop(stranger)

    @property
    def stranger_count(self) -> int:
        return len(self._strangers) + (len(self._door) if self._door is not None else 0)

    def failed(self, peer: str, why: str) -> None:
        self.refused_total += 1
        log.warning("call-back from %s failed: %s", peer, why)
        self._on_failed(peer, why)

    def arrived(self, stranger: Stranger) -> None:
        if len(self._strangers) >= MAX_STRANGERS:
            self.refuse(stranger, "too many connections without a handshake")
            return
        self._strangers[stranger] = self._loop.time() + self._options.handshake_timeout_secs
        if self._timer is None:
            self._timer = self._loop.call_later(self._options.handshake_timeout_secs, self._expire)

    def introduced(self, stranger: Stranger, subject: str, rest: bytes) -> None:
        stream = self._find(subject)
        if stream is None or stream.called_back:
            self.refuse(stranger, "unknown subject")
            return
        self._strangers.pop(stranger, None)
        if stranger.transport is not None:
            stream.attach(stranger.transport, rest)

    def refuse(self, stranger: Stranger, why: str) -> None:
        self.refused_total += 1
        log.debug("call-back refused: %s", why)
        self._drop(stranger)

    def gone(self, stranger: Stranger) -> None:
        self._strangers.pop(stranger, None)

    def _greeter(self) -> Stranger:
        return Stranger(self)

    def _drop(self, stranger: Stranger) -> None:
        self._strangers.pop(stranger, None)
        if stranger.transport is not None:
            reset(stranger.transport)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for stranger, due in list(self._strangers.items()):
            if due > now:
                self._timer = self._loop.call_at(due, self._expire)
                return
            self.refuse(stranger, "no handshake in time")
