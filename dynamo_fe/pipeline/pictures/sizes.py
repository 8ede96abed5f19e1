"""The sizes of a request's pictures: those in its addresses themselves, and those that are asked for over HTTP."""

from __future__ import annotations

import asyncio
import binascii
import functools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from dynamo_fe._cext.block_hash import xxh3
from dynamo_fe.pipeline.pictures.fetch import fetched_size
from dynamo_fe.pipeline.pictures.header import NoSize, Size, picture_size
from dynamo_fe.pipeline.pictures.host_guard import Forbidden, HostGuard

_log = logging.getLogger("dynamo_fe.pipeline")

_KEPT_SECS: Final = 24 * 3600.0
_MOST_KEPT: Final = 20_000
_MOST_ASKED: Final = 256
_DATA: Final = "data:"
# of a picture that stands in its address: in characters, whole groups of base64
_LOOKED_AT_CHARS: Final = (4 << 10, 4 << 18)

Result = TypeVar("Result")


def picture_hash(url: str) -> int:
    """What names a picture to routers and workers: XXH3 of its address, 64 bits."""
    return xxh3(url.encode())


class PictureSizes:
    """Belongs to one event loop. A picture that several requests show is asked for once, and after `patience_secs` they
    go on without its size.
    """

    def __init__(self, allow_internal: bool, patience_secs: float = 10.0) -> None:
        self._patience_secs = patience_secs
        self._guard = HostGuard(allow_internal)
        self._kept: OrderedDict[int, tuple[Size, float]] = OrderedDict()
        self._asked: dict[int, asyncio.Task[Size | None]] = {}

    async def of(self, urls: Sequence[str]) -> list[Size | None]:
        """(width, height) of each, None where it cannot be had. Raises Forbidden."""
        found: list[Size | None] = [None] * len(urls)
        asked: list[tuple[int, asyncio.Task[Size | None]]] = []
        for at, url in enumerate(urls):
            if not _is_http(url):
                found[at] = _own_size(url)
                continue
            number = picture_hash(url)
            kept = self._kept.get(number)
            if kept is not None and kept[1] > time.monotonic():
                self._kept.move_to_end(number)
                found[at] = kept[0]
            elif number in self._asked or len(self._asked) < _MOST_ASKED:
                asked.append((at, self._ask(number, url)))
        for at, task in asked:
            found[at] = await asyncio.shield(task)
        return found

    async def check(self, urls: Sequence[str]) -> None:
        """Raises Forbidden where one leads inside; asks no server."""
        hosts = {urlsplit(url).hostname or "" for url in urls if _is_http(url)}
        await asyncio.gather(*(self._patient(host, functools.partial(self._guard.places, host)) for host in hosts))

    async def _patient(self, host: str, act: Callable[[], Coroutine[Any, Any, Result]]) -> Result | None:
        """None where it fails or takes too long. Raises Forbidden."""
        try:
            async with asyncio.timeout(self._patience_secs):
                return await act()
        except TimeoutError:
            reason = f"no answer within {self._patience_secs:g} s"
        except (OSError, NoSize) as error:
            reason = str(error)
        _log.info("the size of a picture of %s is not known: %s", host, reason)
        return None

    def _ask(self, number: int, url: str) -> asyncio.Task[Size | None]:
        task = self._asked.get(number)
        if task is None:
            asking = self._patient(urlsplit(url).hostname or "", lambda: fetched_size(url, self._guard))
            task = self._asked[number] = asyncio.create_task(asking, name="picture-size")
            task.add_done_callback(lambda task: self._answered(number, task))
        return task

    def _answered(self, number: int, task: asyncio.Task[Size | None]) -> None:
        del self._asked[number]
        if task.cancelled() or task.exception() is not None:
            return
        size = task.result()
        if size is not None:
            self._kept[number] = size, time.monotonic() + _KEPT_SECS
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _own_size(url: str) -> Size | None:
    """Of a picture that stands in its address whole."""
    kind, comma, payload = url.partition(",")
    if not comma or not kind.startswith(_DATA):
        return None
    for most_chars in _LOOKED_AT_CHARS:
        begun = payload[:most_chars]
        try:
            data = binascii.a2b_base64(begun, strict_mode=True) if ";base64" in kind else begun.encode()
            return picture_size(data)
        except ValueError:
            continue
    return None


__all__ = ["Forbidden", "PictureSizes", "picture_hash"]
