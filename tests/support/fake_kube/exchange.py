"""One HTTP request to the fake API server and its answer, each logged as a line of JSON."""

from __future__ import annotations

import asyncio
import datetime
import http
import json
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.fake_kube.objects import Object, Selector

_TRUE = ("true", "True", "TRUE", "t", "T", "1")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class RequestLog:
    """Every request, response and watch event as a line of JSON."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", buffering=1) if path is not None else None

    def write(self, what: str, **values: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"t": round(time.time(), 3), "ev": what, **values}) + "\n")


class Request:
    """A request with its target taken apart: `group` None when it is none of a resource."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        split = urllib.parse.urlsplit(target)
        found = urllib.parse.parse_qs(split.query, keep_blank_values=True)
        self.method = method
        self.path = split.path
        self.query = {name: values[-1] for name, values in found.items()}
        self.headers = headers
        self.body = _decoded(body)
        self.group: str | None = None
        self.namespace: str | None = None
        self.resource: str | None = None
        self.name: str | None = None
        self._take_apart(split.path.strip("/").split("/"))
        self.verb = self._verb()

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def selector(self) -> Selector:
        return Selector(self.query.get("labelSelector", ""), self.query.get("fieldSelector", ""))

    @property
    def is_apply(self) -> bool:
        """Whether it is a server side apply."""
        return self.verb == "patch" and "apply-patch" in self.headers.get("content-type", "")

    def asks(self, name: str) -> bool:
        """Whether a boolean parameter is set."""
        return self.query.get(name) in _TRUE

    def _take_apart(self, parts: list[str]) -> None:
        rest: list[str] = []
        if parts[0] == "api":
            self.group, rest = "", parts[2:]
        elif parts[0] == "apis" and len(parts) > 2:
            self.group, rest = parts[1], parts[3:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            self.namespace, rest = rest[1], rest[2:]
        self.resource = rest[0] if rest else None
        self.name = rest[1] if len(rest) > 1 else None

    def _verb(self) -> str:
        if self.method == "GET":
            return "watch" if self.asks("watch") else "get" if self.name else "list"
        return _VERBS.get(self.method, self.method.lower())


class Exchange:
    """A request under way on a connection."""

    def __init__(
        self, number: int, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: RequestLog
    ) -> None:
        self.number = number
        self.request = request
        self.reader = reader
        self.writer = writer
        self._log = log

    async def answer(self, code: int, body: Object, extra_headers: Sequence[str] = ()) -> bool:
        """Returns True: the connection can be used again."""
        return await self._send(code, json.dumps(body), "application/json", extra_headers, body)

    async def answer_text(self, code: int, text: str) -> bool:
        return await self._send(code, text, "text/plain; charset=utf-8", (), text)

    async def begin_stream(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self.writer.drain()
        self.note("watch-open")

    async def send_line(self, line: str) -> None:
        data = line.encode() + b"\n"
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def send_event(self, event: Object) -> None:
        await self.send_line(json.dumps(event))
        self.note("watch-event", event=event)

    async def end_stream(self, why: str) -> bool:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        self.note("watch-end", why=why)
        return True

    def reset(self) -> bool:
        """Returns False: the connection is gone."""
        self.writer.transport.abort()
        return False

    def note(self, what: str, **values: Any) -> None:
        """Into the log, under the number of the request; 0 is not logged."""
        if self.number:
            self._log.write(what, n=self.number, **values)

    async def _send(self, code: int, text: str, kind: str, extra_headers: Sequence[str], logged: Any) -> bool:
        data = text.encode()
        date = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        head = [f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}", f"Content-Type: {kind}"]
        head += [f"Content-Length: {len(data)}", f"Date: {date}", *extra_headers]
        self.writer.write(("\r\n".join(head) + "\r\n\r\n").encode() + data)
        await self.writer.drain()
        self.note("response", status=code, body=logged)
        return True


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request of a connection. Raises IncompleteReadError at its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    return Request(method, target, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).strip(), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(chunks)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("latin1")
