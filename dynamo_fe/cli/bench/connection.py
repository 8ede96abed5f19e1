"""A kept-alive connection of the load: one request at a time, straight on the transport."""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import cast

from dynamo_fe.cli.bench.http_answer import AnswerError, HttpAnswer


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. `path` is what stands in front of /v1."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Target:
        """The certificates of an https address are checked by the system's authorities (SSL_CERT_FILE)."""
        parts = urllib.parse.urlsplit(url)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), parts.path, tls)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        head = f"{method} {self.path}{path} HTTP/1.1\r\nhost: {host}:{self.port}\r\naccept: */*\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Connection:
    """Connects when it has to; `ask` may be called again when it has returned or raised."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._link: _Link | None = None

    async def ask(self, request: bytes, answer: HttpAnswer) -> None:
        """Returns when the answer is done. Raises OSError (also of TLS), AnswerError, and what the answer's reader
        raises. Nothing is sent twice.
        """
        if self._link is None or not self._link.usable:
            loop = asyncio.get_running_loop()
            target = self._target
            _, self._link = await loop.create_connection(_Link, target.host, target.port, ssl=target.tls)
        try:
            await self._link.ask(request, answer)
        except BaseException:
            self.close()
            raise
        if not answer.reusable:
            self.close()

    def close(self) -> None:
        if self._link is not None:
            self._link.abort()
            self._link = None


class _Link(asyncio.Protocol):
    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport
        self._answer: HttpAnswer | None = None
        self._over: asyncio.Future[None]

    async def ask(self, request: bytes, answer: HttpAnswer) -> None:
        self._answer = answer
        self._over = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._over

    def abort(self) -> None:
        self.usable, self._answer = False, None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked
            return
        try:
            answer.feed(data)
        except Exception as error:
            self._settle(error)
        else:
            if answer.done:
                self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is None:
            return
        try:
            self._answer.end()
        except AnswerError as error:
            self._settle(exc or error)
        else:
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        self._answer = None
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
