"""Request connections: long-lived, pipelined, shared by all requests to one `host:port`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, NamedTuple, cast

from dynamo_fe._cext.stream_codec import AckDecoder, BadFrame
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.stream import ResponseStream
from dynamo_fe.planes.tls import reason_of
from dynamo_fe.protocol.errors import RequestError

log = logging.getLogger("dynamo_fe.planes")

# an acknowledgement is empty or one line; a TLS alert read as one declares 5 MB and more
MAX_ACK_BYTES = 64 << 10
TLS_ALERT = b"\x15\x03"


class RequestConnection(asyncio.Protocol):
    """One connection to a worker's request port. Acknowledgements come back in the order of the requests."""

    __slots__ = ("_acks", "_host", "_sent_at", "_transport", "lost_because", "open", "unacked")

    def __init__(self, host: HostPool) -> None:
        self._host = host
        self._acks = AckDecoder(MAX_ACK_BYTES)
        self._transport: asyncio.Transport | None = None
        self.unacked: deque[ResponseStream] = deque()
        # when each of them was sent; their own state does not tell, since a stream may be cancelled or called back
        self._sent_at: deque[float] = deque()
        self.open = False
        self.lost_because = ""

    @property
    def stuck(self) -> bool:
        """An acknowledgement is overdue, and with it all that come after it."""
        return bool(self._sent_at) and self._host.is_overdue(self._sent_at[0])

    @property
    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, frame: bytes, stream: ResponseStream) -> None:
        assert self._transport is not None
        self._host.traffic.sent_bytes += len(frame)
        self.unacked.append(stream)
        self._sent_at.append(self._host.now())
        self._transport.write(frame)

    def drop(self) -> None:
        """Closes now; what is not acknowledged is lost."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._host.traffic.received_bytes += len(data)
        try:
            acks = self._acks.feed(data)
        except BadFrame as error:
            tls = ": the worker speaks TLS, we do not" if data.startswith(TLS_ALERT) else ""
            self._lost(f"unreadable acknowledgement: {error}{tls}")
            return
        for ack in acks:
            if not self.unacked:
                self._lost("an acknowledgement that belongs to no request")
                return
            self._sent_at.popleft()
            self.unacked.popleft().on_ack(ack)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(str(exc) if exc is not None else "closed by the worker")

    def _lost(self, why: str) -> None:
        if not self.open:
            return
        self.open = False
        self.lost_because = why
        self._host.forget(self)
        self.drop()
        waiting, self.unacked = self.unacked, deque()
        self._sent_at.clear()
        self._host.traffic.errors += len(waiting)
        if waiting:
            log.warning("request connection to %s lost with %d unacknowledged: %s", self._host, len(waiting), why)
        for stream in waiting:
            stream.on_request_lost(RequestError.disconnected(f"request connection to {self._host} lost: {why}"))


class Traffic:
    """What went over all request connections of a process. `errors` are requests that had no connection or lost it
    before they were acknowledged.
    """

    def __init__(self) -> None:
        self.sent_bytes = self.received_bytes = self.errors = 0


class ConnectFailure(NamedTuple):
    """Why there is no connection."""

    why: str
    timed_out: bool = False


class HostPool:
    """The connections to one `host:port`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: TcpPlaneOptions, traffic: Traffic, host: str, port: int
    ) -> None:
        self._loop = loop
        self._options = options
        self.traffic = traffic
        self._host = host
        self._port = port
        self._connecting: asyncio.Task[ConnectFailure | None] | None = None
        self._tls: dict[str, Any] = {}
        if options.connect_tls is not None:
            self._tls = {
                "ssl": options.connect_tls,
                "server_hostname": options.tls_server_name or host,
                "ssl_handshake_timeout": options.tls_handshake_timeout_secs,
            }
        self.connections: list[RequestConnection] = []
        self.last_used = loop.time()

    def __str__(self) -> str:
        return f"{self._host}:{self._port}"

    async def acquire(self, frame_bytes: int) -> RequestConnection:
        """A connection for one request, which the caller writes before it awaits anything.

        Raises RequestError: no connection within the connect timeout, or all that may be open are full.
        """
        while True:
            self.last_used = self._loop.time()
            connection = self._with_room()
            if connection is not None:
                waiting = sum(other.buffered_bytes for other in self.connections)
                if waiting and waiting + frame_bytes > self._options.write_buffer_bytes:
                    raise RequestError.exhausted(f"{waiting} bytes already wait to be written to {self}")
                return connection
            if len(self.connections) >= self._options.pool_connections:
                raise RequestError.exhausted(f"all {len(self.connections)} connections to {self} are full")
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            failure = await self._outcome(self._connecting)
            if failure is not None:
                self.traffic.errors += 1
                text = f"cannot connect to {self}: {failure.why}"
                raise RequestError.cannot_connect(text, timed_out=failure.timed_out)

    def now(self) -> float:
        """The loop's clock, seconds."""
        return self._loop.time()

    def is_overdue(self, sent_at: float) -> bool:
        """Whether a request sent then should have been acknowledged by now."""
        limit = self._options.ack_timeout_secs
        return limit > 0 and self._loop.time() >= sent_at + limit

    def forget(self, connection: RequestConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def is_idle(self, now: float) -> bool:
        busy = self._connecting is not None or any(
            connection.unacked and not connection.stuck for connection in self.connections
        )
        return not busy and now - self.last_used >= self._options.pool_idle_secs

    def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self.connections):
            connection.drop()

    def _with_room(self) -> RequestConnection | None:
        for connection in list(self.connections):
            if connection.stuck:
                # no new request goes there; the rest of those waiting on it have their own deadline by then
                self.connections.remove(connection)
                self._loop.call_later(self._options.ack_timeout_secs, connection.drop)
            elif len(connection.unacked) < self._options.pool_unacked_requests:
                return connection
        return None

    async def _outcome(self, connecting: asyncio.Task[ConnectFailure | None]) -> ConnectFailure | None:
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                return ConnectFailure("the request plane is closing")
            raise

    async def _connect(self) -> ConnectFailure | None:
        """Adds a connection; the reason if there is none. Never raises, as several requests may share the outcome."""
        limit = self._options.connect_timeout_secs
        try:
            async with asyncio.timeout(limit):
                _, connection = await self._loop.create_connection(
                    lambda: RequestConnection(self), self._host, self._port, **self._tls
                )
        except TimeoutError:
            return ConnectFailure(f"no connection within {limit:g} s", timed_out=True)
        except OSError as error:
            return ConnectFailure(reason_of(error))
        finally:
            self._connecting = None
        if not connection.open:
            # lost before this task came to run: what the other side said with its first bytes was nonsense
            return ConnectFailure(connection.lost_because)
        self.connections.append(connection)
        return None


class ConnectionPool:
    """The host pools of a process; a pool that nobody used for `pool_idle_secs` is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: TcpPlaneOptions) -> None:
        self._loop = loop
        self._options = options
        self._traffic = Traffic()
        self._hosts: dict[tuple[str, int], HostPool] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def host(self, host: str, port: int) -> HostPool:
        pool = self._hosts.get((host, port))
        if pool is None:
            pool = self._hosts[host, port] = HostPool(self._loop, self._options, self._traffic, host, port)
            if self._sweeper is None:
                self._sweeper = self._loop.call_later(self._options.pool_idle_secs, self._sweep)
        return pool

    def stats(self) -> dict[str, int]:
        traffic = self._traffic
        connections = [connection for pool in self._hosts.values() for connection in pool.connections]
        return {
            "request_connections": len(connections),
            "unacknowledged_requests": sum(len(connection.unacked) for connection in connections),
            "unwritten_bytes": sum(connection.buffered_bytes for connection in connections),
            "bytes_sent_total": traffic.sent_bytes,
            "bytes_received_total": traffic.received_bytes,
            "errors_total": traffic.errors,
        }

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in self._hosts.values():
            pool.close()
        self._hosts.clear()

    def _sweep(self) -> None:
        now = self._loop.time()
        for key, pool in list(self._hosts.items()):
            if pool.is_idle(now):
                del self._hosts[key]
                pool.close()
        self._sweeper = self._loop.call_later(self._options.pool_idle_secs, self._sweep) if self._hosts else None
