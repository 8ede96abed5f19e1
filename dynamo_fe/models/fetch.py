"""One file of a model over HTTP, from the worker that publishes it.

Workers registered with `self_host_metadata` serve their card's files at
``http://HOST:PORT/v1/metadata/NS/COMPONENT/ENDPOINT/SLUG/_base/FILE``. A plain GET as HTTP/1.0, so that the answer ends
with its connection and is never chunked; on the event loop, so that it can be cancelled at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from dynamo_fe.config.logins import without_logins

_HEAD_LIMIT_BYTES: Final = 65_536
_PIECE_BYTES: Final = 65_536
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class FetchError(Exception):
    """The file could not be had; the text says why. `final`: another try would end the same way."""

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


def is_http(path: str) -> bool:
    """Whether the path of a FILE is a URL that `fetch` takes."""
    return path.startswith(("http://", "https://"))


async def fetch(url: str, limit_bytes: int, timeout_secs: float, take: Callable[[bytes], None]) -> None:
    """Hands the body to `take` piece by piece.

    Raises:
        FetchError: no connection, another status than 200, a body over `limit_bytes` or cut short, or no end within
            `timeout_secs`.
    """
    shown = without_logins(url)
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise FetchError(f"{shown} is not an address", final=True) from error
    if not parts.hostname or any(ord(letter) <= 32 for letter in url):
        raise FetchError(f"{shown} is not an address", final=True)
    try:
        async with asyncio.timeout(timeout_secs):
            await _exchange(parts, port, limit_bytes, take)
    except TimeoutError as error:
        raise FetchError(f"{shown}: no answer within {timeout_secs:g} s") from error
    except (OSError, EOFError, asyncio.LimitOverrunError, ssl.SSLError) as error:
        raise FetchError(f"{shown}: {error or type(error).__name__}") from error
    except FetchError as error:
        raise FetchError(f"{shown}: {error}", error.final) from error


async def _exchange(parts: SplitResult, port: int, limit_bytes: int, take: Callable[[bytes], None]) -> None:
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, limit=_HEAD_LIMIT_BYTES)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(f"GET {target} HTTP/1.0\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n".encode())
        declared = _body_bytes(await reader.readuntil(b"\r\n\r\n"))
        if declared is not None and declared > limit_bytes:
            raise FetchError(f"the answer has {declared} bytes, more than {limit_bytes}", final=True)
        received = 0
        while piece := await reader.read(_PIECE_BYTES):
            received += len(piece)
            if received > limit_bytes:
                raise FetchError(f"the answer has more than {limit_bytes} bytes", final=True)
            take(piece)
        if declared is not None and received < declared:
            raise FetchError(f"the answer was cut after {received} of {declared} bytes")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _body_bytes(head: bytes) -> int | None:
    """The length an answer's head declares. Raises FetchError unless the status is 200."""
    status, *lines = head.decode("latin-1").split("\r\n")
    words = status.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        raise FetchError("the answer is not HTTP", final=True)
    if words[1] != "200":
        raise FetchError(f"status {words[1]}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "identity") != "identity":
        raise FetchError("the answer is chunked, against HTTP/1.0", final=True)
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else None
