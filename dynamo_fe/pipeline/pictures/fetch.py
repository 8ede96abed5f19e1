"""The beginning of a picture over HTTP, of which its size is read: what a model makes of it depends on no more."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from dynamo_fe.pipeline.media_url import NoUrl, media_url
from dynamo_fe.pipeline.pictures.header import NoSize, Size, picture_size
from dynamo_fe.pipeline.pictures.host_guard import Forbidden, HostGuard

# asked for one after the other; most pictures have their size within the first
_RANGES_BYTES: Final = (4 << 10, 64 << 10)
_PIECE_BYTES: Final = 1 << 16
_MOST_HEAD_BYTES: Final = 1 << 15
_MOST_REDIRECTS: Final = 2
_PARTIAL: Final = 206
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FAILURES: Final = (OSError, EOFError, h11.ProtocolError, ValueError)


async def fetched_size(url: str, guard: HostGuard) -> Size:
    """The size of the picture at an HTTP address as `media_url` writes it. The caller limits the time.

    Raises:
        Forbidden: the address leads inside, directly or on its way, or on for ever.
        NoSize: the size cannot be had: no connection, no part of the picture, no known format.
    """
    try:
        for most_bytes in _RANGES_BYTES[:-1]:
            try:
                return picture_size(await _beginning(url, most_bytes, guard))
            except NoSize:
                continue
        return picture_size(await _beginning(url, _RANGES_BYTES[-1], guard))
    except _FAILURES as error:
        raise NoSize(str(error) or type(error).__name__) from error


async def _beginning(url: str, most_bytes: int, guard: HostGuard) -> bytes:
    for _ in range(_MOST_REDIRECTS + 1):
        found = await _exchange(urlsplit(url), most_bytes, guard)
        if isinstance(found, bytes):
            return found
        url = _led_on(url, found, guard)
    raise Forbidden("led on too often")


def _led_on(url: str, location: str, guard: HostGuard) -> str:
    try:
        found, internal = media_url(urljoin(url, location))
    except NoUrl as error:
        raise Forbidden(f"led on to no address: {error}") from error
    if urlsplit(found).scheme not in _DEFAULT_PORTS or (internal and not guard.allow_internal):
        raise Forbidden("led on to a place that is not public")
    return found


async def _exchange(parts: SplitResult, most_bytes: int, guard: HostGuard) -> bytes | str:
    """The first bytes of the body, or where a redirect leads. Raises Forbidden, and any of the failures."""
    host = parts.hostname or ""
    reader, writer = await _connected(parts, guard, await guard.places(host))
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD_BYTES)
        headers = [
            ("host", parts.netloc.rpartition("@")[2]),
            ("user-agent", "dynamo-fe"),
            ("accept", "*/*"),
            ("range", f"bytes=0-{most_bytes - 1}"),
            ("connection", "close"),
        ]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
        connection.send(h11.EndOfMessage())
        body = bytearray()
        while len(body) < most_bytes:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_PIECE_BYTES))
            elif isinstance(event, h11.Response):
                if event.status_code in _REDIRECTS:
                    return _location(event)
                # a whole picture may be of any size: only a part of one is read
                if event.status_code != _PARTIAL:
                    raise NoSize(f"status {event.status_code}, not 206")
            elif isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                break
        return bytes(body)
    finally:
        writer.transport.abort()


def _location(head: h11.Response) -> str:
    for name, value in head.headers:
        if name == b"location":
            return value.decode("latin-1")
    raise NoSize(f"status {head.status_code} that leads nowhere")


async def _connected(
    parts: SplitResult, guard: HostGuard, places: list[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first of the places that takes it."""
    tls = await guard.tls() if parts.scheme == "https" else None
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    failure: OSError = ConnectionError("no address")
    for place in dict.fromkeys(places):
        try:
            return await asyncio.open_connection(
                place, port, ssl=tls, server_hostname=parts.hostname if tls is not None else None
            )
        except OSError as error:
            failure = error
    raise failure
