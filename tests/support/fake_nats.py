"""A NATS server that knows just what a requester needs, and holds every message for the test to answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from tests.support.fake_worker import PATIENCE_SECS


class Published:
    """A message with headers, as it was published."""

    def __init__(self, subject: str, reply: str, head: bytes, payload: bytes, connection: _Connection) -> None:
        self.subject = subject
        self.reply_to = reply
        lines = head.decode().split("\r\n")
        assert lines[0] == "NATS/1.0" and lines[-2:] == ["", ""]
        self.headers = dict(line.split(": ", 1) for line in lines[1:-2])
        self.header_bytes = len(head)
        self.payload = payload
        self._connection = connection

    def reply(self, text: str = "") -> None:
        self._connection.say(f"MSG {self.reply_to} {self._connection.inbox_sid} {len(text)}\r\n{text}\r\n".encode())

    def nobody_listens(self) -> None:
        """What a server says when a subject has no subscriber."""
        head = b"NATS/1.0 503\r\n\r\n"
        line = f"HMSG {self.reply_to} {self._connection.inbox_sid} {len(head)} {len(head)}\r\n".encode()
        self._connection.say(line + head + b"\r\n")


class _Connection:
    def __init__(self, server: FakeNats, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self.writer = writer
        self.inbox_sid = ""

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def serve(self) -> None:
        self.say(b"INFO " + json.dumps(self._server.info).encode() + b"\r\n")
        if self._server.tls is not None:
            await self.writer.start_tls(self._server.tls)
        while line := (await self._reader.readline()).decode():
            verb, *words = line.split()
            if verb == "CONNECT":
                self._server.connects.append(json.loads(line.partition(" ")[2]))
            elif verb == "PING":
                self.say(b"-ERR 'Authorization Violation'\r\n" if self._server.refuses else b"PONG\r\n")
            elif verb == "SUB":
                self.inbox_sid = words[-1]
                self._server.subscribed.set()
            elif verb == "HPUB":
                head_bytes, total = int(words[-2]), int(words[-1])
                data = await self._reader.readexactly(total + 2)
                message = Published(words[0], words[1], data[:head_bytes], data[head_bytes:-2], self)
                self._server.published.put_nowait(message)


class FakeNats:
    """`info` is what it says of itself, `connects` what clients said; `refuses`: it lets nobody in."""

    def __init__(self, **info: Any) -> None:
        self.info = {"server_id": "fake", "version": "2.9.10", "headers": True, "max_payload": 1 << 20, **info}
        self.tls: ssl.SSLContext | None = None
        self.refuses = False
        self.connects: list[dict[str, Any]] = []
        self.published: asyncio.Queue[Published] = asyncio.Queue()
        self.subscribed = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """The listener and every connection go."""
        self.subscribed.clear()
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Reads nothing more from anybody."""
        for writer in self._writers:
            cast(asyncio.Transport, writer.transport).pause_reading()

    async def message(self) -> Published:
        async with asyncio.timeout(PATIENCE_SECS):
            return await self.published.get()

    async def wait_subscribed(self) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            await self.subscribed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await _Connection(self, reader, writer).serve()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def fake_nats(**info: Any) -> AsyncIterator[FakeNats]:
    server = FakeNats(**info)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
