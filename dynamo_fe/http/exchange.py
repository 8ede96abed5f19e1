"""One HTTP exchange over ASGI: the body in, the answer out, and the moment the client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
_DRAIN_SECS: Final = 2.0
# A worker is to be told within 100 ms that its client has gone.
_WATCH_DELAY_SECS: Final = 0.04


class ClientGone(Exception):
    """The client closed its side while we were still reading its request."""


class BodyTooLarge(Exception):
    """The body is over the limit; most of what was still under way has been read and thrown away."""


class Exchange:
    """Scope, receive and send of one request. `started`: the head of the answer has gone out."""

    __slots__ = (
        "_asgi_send",
        "_delay",
        "_gone",
        "_headers",
        "_receive",
        "_watched",
        "method",
        "path",
        "query",
        "started",
    )

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self._headers: Headers = scope["headers"]
        self._receive = receive
        self._asgi_send = send
        self.started = False
        self._watched: asyncio.Future[Message] | None = None
        self._gone: Callable[[], None] | None = None
        self._delay: asyncio.TimerHandle | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name."""
        for key, value in self._headers:
            if key == name:
                return value
        return None

    def headers(self) -> Headers:
        """All headers, names in lower case."""
        return self._headers

    async def body(self, limit_bytes: int) -> bytes:
        """The whole request body. Raises BodyTooLarge past the limit, ClientGone when it breaks off.

        With a content-length the last empty message is not awaited: that saves one hop between threads, 26 µs a
        request.
        """
        declared = self.header(b"content-length")
        expected = int(declared) if declared is not None and declared.isdigit() else None
        if expected is not None and expected > limit_bytes:
            await self._drain(limit_bytes)
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        while expected is None or size < expected:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit_bytes:
                await self._drain(limit_bytes)
                raise BodyTooLarge
            parts.append(part)
            if not message.get("more_body", False):
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer with its length."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._asgi_send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> Send:
        """Sends the head of an answer, with the caller's `x-request-id` repeated; returns what sends its body."""
        request_id = self.header(b"x-request-id")
        if request_id:
            headers = [*headers, (b"x-request-id", request_id)]
        self.started = True
        await self._asgi_send({"type": "http.response.start", "status": status, "headers": headers})
        return self._asgi_send

    def on_disconnect(self, gone: Callable[[], None]) -> None:
        """Has `gone` called, once and on the loop, when the client closes. The body must have been read.

        The server only tells of it to whoever waits in `receive`; its awaitable is a future, so no task is spent on it.
        It crosses threads, though: 15 µs, which a request that is answered within the delay is spared.
        """
        self._gone = gone
        self._delay = asyncio.get_running_loop().call_later(_WATCH_DELAY_SECS, self._watch)

    def forget_disconnect(self) -> None:
        """Stops watching."""
        self._gone = None
        if self._delay is not None:
            self._delay.cancel()
        if self._watched is not None:
            self._watched.cancel()
            self._watched = None

    def _watch(self) -> None:
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
            self._watch()
            return
        self._gone = self._watched = None
        gone()

    async def _drain(self, bound_bytes: int) -> None:
        """Reads on for a while, so that a client still sending gets to see the answer instead of a broken pipe."""
        size = 0
        try:
            async with asyncio.timeout(_DRAIN_SECS):
                while size < bound_bytes:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return
