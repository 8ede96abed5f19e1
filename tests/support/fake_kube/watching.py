"""The watch verb: a stream of events until its time is over, the client leaves, or a test says so."""

from __future__ import annotations

import asyncio
import copy
import time

from tests.support.fake_kube.exchange import Exchange
from tests.support.fake_kube.objects import Object
from tests.support.fake_kube.store import Store, Watch, too_old

_LONGEST_SECS = 3000.0


async def serve_watch(store: Store, exchange: Exchange, resource: str, bookmark_secs: float) -> bool:
    """`bookmark_secs`: time between bookmarks, 0 for none. Returns whether the connection can be used again."""
    request = exchange.request
    version = request.query.get("resourceVersion") or "0"
    watch = Watch(resource, request.namespace, request.selector, exchange.number)
    await exchange.begin_stream()
    if version != "0" and int(version) < store.floor:
        await exchange.send_event(too_old(version, store.floor))
        return await exchange.end_stream("410")
    _catch_up(store, watch, version, request.asks("sendInitialEvents"))
    store.watches.add(watch)
    try:
        return await _Stream(store, exchange, watch, bookmark_secs).run()
    finally:
        store.watches.discard(watch)


def _catch_up(store: Store, watch: Watch, version: str, wants_initial: bool) -> None:
    if version != "0" and not wants_initial:
        for change in store.since(int(version)):
            watch.offer(change)
        return
    for obj in store.listed(watch.resource, watch.namespace, watch.selector):
        watch.queue.put_nowait({"type": "ADDED", "object": copy.deepcopy(obj)})
    if wants_initial:
        watch.queue.put_nowait(store.bookmark(watch.resource, initial_events_end=True))


class _Stream:
    def __init__(self, store: Store, exchange: Exchange, watch: Watch, bookmark_secs: float) -> None:
        self._store = store
        self._exchange = exchange
        self._watch = watch
        self._limit_secs = float(exchange.request.query.get("timeoutSeconds") or _LONGEST_SECS)
        self._end = time.monotonic() + self._limit_secs
        wants_bookmarks = bookmark_secs and exchange.request.asks("allowWatchBookmarks")
        self._bookmark_secs = bookmark_secs if wants_bookmarks else self._limit_secs
        self._next_bookmark = time.monotonic() + self._bookmark_secs
        # A client sends nothing while it watches: a read ends when it leaves.
        self._gone = asyncio.ensure_future(exchange.reader.read(1))

    async def run(self) -> bool:
        try:
            while True:
                usable = await self._step()
                if usable is not None:
                    return usable and not self._gone.done()
        finally:
            if not self._gone.done():
                self._gone.cancel()
                await asyncio.wait({self._gone})

    async def _step(self) -> bool | None:
        """None: go on. Else whether the connection can be used again."""
        getter = asyncio.ensure_future(self._watch.queue.get())
        wait_secs = max(min(self._end, self._next_bookmark) - time.monotonic(), 0)
        await asyncio.wait({getter, self._gone}, timeout=wait_secs, return_when=asyncio.FIRST_COMPLETED)
        if not getter.done():
            getter.cancel()
        if self._gone.done():
            self._exchange.note("watch-end", why="client left")
            return False
        if getter.done() and not getter.cancelled():
            return await self._take(getter.result())
        if time.monotonic() >= self._end:
            return await self._exchange.end_stream("timeout")
        if time.monotonic() >= self._next_bookmark:
            self._next_bookmark = time.monotonic() + self._bookmark_secs
            await self._exchange.send_event(self._store.bookmark(self._watch.resource))
        return None

    async def _take(self, event: Object | str) -> bool | None:
        if event == "eof":
            return await self._exchange.end_stream("eof")
        if event == "reset":
            self._exchange.note("watch-end", why="reset")
            return self._exchange.reset()
        if event == "stall":
            self._store.watches.discard(self._watch)
            self._exchange.note("watch-stall")
            await asyncio.wait({self._gone}, timeout=self._limit_secs)
            return False
        assert isinstance(event, dict)
        await self._exchange.send_event(event)
        return await self._exchange.end_stream("error event") if event["type"] == "ERROR" else None
