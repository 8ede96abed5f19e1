"""One HTTP exchange over ASGI: the body in, the answer out, and the moment the client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

from dynamo_fe.http.body import Message, Receive, read_body
from dynamo_fe.http.intake import BodyTicket, Intake
from dynamo_fe.ops.alarms import Alarms
from dynamo_fe.pipeline.lifetimes import Lifetime

Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
# Headers that say nothing about an inference request beyond what the body is.
_COMMON: Final = frozenset(
    name.encode()
    for name in (
        "host user-agent accept accept-encoding accept-language connection content-type content-length authorization "
        "cache-control cookie origin pragma priority referer te sec-fetch-dest sec-fetch-mode sec-fetch-site"
    ).split()
)


class Exchange:
    """Scope, receive and send of one request. `status`: of the answer, 0 until its head goes out; `left`: the client
    was seen to go; `closing`: the connection is to end with this answer; `lifetime`: of an inference request, once it
    is let in; `metadata`: what its headers have for the workers; `request_id`: of an inference request, empty for
    others; `always`: headers that go with every answer; `patience_secs`: how long the client may take nothing of a
    streamed answer, None where its connection is watched for that.
    """

    __slots__ = (
        "_asgi_send",
        "_first",
        "_gone",
        "_disconnects",
        "_headers",
        "_intake",
        "_receive",
        "_ticket",
        "_watched",
        "always",
        "closing",
        "left",
        "lifetime",
        "metadata",
        "method",
        "path",
        "patience_secs",
        "query",
        "request_id",
        "status",
    )

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        intake: Intake | None = None,
        disconnects: Alarms[Exchange] | None = None,
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self._headers: Headers = scope["headers"]
        self._first: dict[bytes, bytes] | None = None
        self._receive = receive
        self._asgi_send = send
        self._intake = intake
        self._disconnects = disconnects
        self._ticket: BodyTicket | None = None
        self.always: Headers = []
        self.status = 0
        self.left = False
        self.closing = False
        self.lifetime: Lifetime | None = None
        self.metadata: dict[str, str] | None = None
        self.patience_secs: float | None = None
        self.request_id = ""
        self._watched: asyncio.Future[Message] | None = None
        self._gone: Callable[[], None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        return self._by_name().get(name)

    def headers(self) -> Headers:
        """All headers, names in lower case."""
        return self._headers

    @property
    def started(self) -> bool:
        """Whether the head of the answer has gone out."""
        return self.status != 0

    @property
    def plain(self) -> bool:
        """Whether no header is there but those that every client sends."""
        return _COMMON.issuperset(self._by_name())

    def _by_name(self) -> dict[bytes, bytes]:
        if self._first is None:
            self._first = dict(reversed(self._headers))
        return self._first

    async def body(self, limit_bytes: int | None = None) -> bytes:
        """The whole request body, decoded. Its bytes count against the budget until `release`.

        Raises BodyRefused.
        """
        intake = self._intake
        assert intake is not None
        ticket = self._ticket = BodyTicket(intake)
        declared, coding = self.header(b"content-length"), self.header(b"content-encoding")
        limit = intake.limit_bytes if limit_bytes is None else limit_bytes
        return await read_body(self._receive, intake, ticket, declared, coding, limit)

    def release(self) -> None:
        """Gives the bytes of the body back to the budget."""
        if self._ticket is not None:
            self._ticket.release()

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer with its length."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._asgi_send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def start(self, status: int, headers: Headers) -> Send:
        """Sends the head of an answer, with the caller's `x-request-id` repeated; returns what sends its body."""
        request_id = self.header(b"x-request-id")
        if request_id is not None:
            headers = [*headers, (b"x-request-id", request_id)]
        if self.always:
            headers = [*headers, *self.always]
        if self.closing:
            headers = [*headers, (b"connection", b"close")]
        self.status = status
        await self._asgi_send({"type": "http.response.start", "status": status, "headers": headers})
        return self._asgi_send

    def on_disconnect(self, gone: Callable[[], None]) -> None:
        """Has `gone` called, once and on the loop, when the client closes. The body must have been read.

        The server only tells of it to whoever waits in `receive`; its awaitable is a future, so no task is spent on it.
        It crosses threads, though: 15 µs, which a request that is answered before the alarm is spared.
        """
        assert self._disconnects is not None
        self._gone = gone
        self._disconnects.add(self)

    def forget_disconnect(self) -> None:
        """Stops watching."""
        self._gone = None
        if self._disconnects is not None:
            self._disconnects.discard(self)
        if self._watched is not None:
            self._watched.cancel()
            self._watched = None

    def watch_disconnect(self) -> None:
        """Begins to wait for the client's close."""
        awaitable = self._receive()
        future: asyncio.Future[Message] = (
            awaitable if hasattr(awaitable, "add_done_callback") else asyncio.ensure_future(awaitable)  # type: ignore[assignment]
        )
        self._watched = future
        future.add_done_callback(self._received)

    def _received(self, future: asyncio.Future[Message]) -> None:
        gone = self._gone
        if gone is None or future.cancelled():
            return
        if future.exception() is None and future.result()["type"] != "http.disconnect":
            self.watch_disconnect()
            return
        self._gone = self._watched = None
        self.left = True
        gone()
