"""Asks a worker over the request plane for the KV events that were missed."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.protocol.kv_recovery import RecoveryQuery, encode_query

TIMEOUT_SECS: Final = 30.0


class RecoveryFailed(Exception):
    """There is no answer; the text says why."""


async def recover(plane: RequestPlane, target: Instance, query: RecoveryQuery) -> bytes:
    """The one data item that the worker answers with. Raises RecoveryFailed, after `TIMEOUT_SECS` at the latest."""
    sink = _OneItem()
    try:
        async with asyncio.timeout(TIMEOUT_SECS):
            handle = await plane.dispatch(target, str(uuid.uuid4()), encode_query(query, target.codec), None, sink)
            try:
                return await sink.item
            finally:
                handle.cancel()
    except RequestError as error:
        raise RecoveryFailed(str(error)) from None
    except TimeoutError:
        raise RecoveryFailed(f"no answer in {TIMEOUT_SECS:g} s") from None


class _OneItem:
    """A stream's sink for whom the first item is all; its end is waited for, so that the worker need not be stopped."""

    def __init__(self) -> None:
        self.item: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._found: bytes | None = None

    def on_items(self, items: list[OutputItem]) -> None:
        if self._found is None:
            self._found = items[0].raw

    def on_end(self, error: RequestError | None) -> None:
        if self.item.done():
            return
        if self._found is not None:
            self.item.set_result(self._found)
        else:
            self.item.set_exception(error or RecoveryFailed("the stream ended without an answer"))
