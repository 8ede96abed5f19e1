"""HTTP/1.1 by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

JSON = b"content-type: application/json"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Reply:
    """What came back first. `status` 0: the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def head(method: bytes, path: bytes, *headers: bytes) -> bytes:
    """A request head with a host."""
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"host: a", *headers]) + b"\r\n\r\n"


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    """A POST of JSON with its length."""
    return head(b"POST", path, JSON, b"content-length: %d" % len(body), *headers) + body


def exchange(port: int, parts: Iterable[bytes], *, bodiless: bool = False, timeout_secs: float = 30.0) -> Reply:
    """Sends the parts over a connection of its own, as far as the server takes them, and reads the first answer.
    `bodiless`: it is an answer to HEAD, whose length says nothing of what follows.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_secs) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused while we were sending: the answer may still be there
        return _read(connection, bodiless)


def _read(connection: socket.socket, bodiless: bool) -> Reply:
    text = b""
    try:
        while b"\r\n\r\n" not in text:
            text = (text + _more(connection)).removeprefix(_CONTINUE)
        top, _, body = text.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" in headers and not bodiless:
            while len(body) < int(headers["content-length"]):
                body += _more(connection)
            body = body[: int(headers["content-length"])]
        return Reply(int(lines[0].split()[1]), headers, body)
    except (ConnectionResetError, EOFError):
        return Reply(0, {}, text)


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise EOFError
    return part
