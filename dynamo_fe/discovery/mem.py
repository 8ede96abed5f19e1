"""`mem` discovery: the store is an object of this process, shared by whoever was handed it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

from dynamo_fe.discovery.base import Delete, Discovery, DiscoveryStatus, Event, KeyTaken, Put, Snapshot


class MemStore:
    """The keys and everybody who watches them. Belongs to one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._watchers: list[tuple[str, asyncio.Queue[list[Event] | None]]] = []

    def put(self, key: str, value: bytes) -> None:
        """Creates or overwrites."""
        self._entries[key] = value
        self._tell(key, Put(key, value))

    def delete(self, key: str) -> None:
        """Deletes if it is there."""
        if self._entries.pop(key, None) is not None:
            self._tell(key, Delete(key))

    def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return self._entries.get(key)

    def subscribe(self, prefix: str) -> asyncio.Queue[list[Event] | None]:
        """A queue that starts with the snapshot; None in it means the end."""
        queue: asyncio.Queue[list[Event] | None] = asyncio.Queue()
        entries = {key: value for key, value in self._entries.items() if key.startswith(prefix)}
        queue.put_nowait([Snapshot(entries, after_outage=False)])
        self._watchers.append((prefix, queue))
        return queue

    def unsubscribe(self, queue: asyncio.Queue[list[Event] | None]) -> None:
        """Nothing more goes into that queue."""
        self._watchers = [entry for entry in self._watchers if entry[1] is not queue]

    def _tell(self, key: str, event: Event) -> None:
        for prefix, queue in self._watchers:
            if key.startswith(prefix):
                queue.put_nowait([event])


class MemDiscovery(Discovery):
    """A participant of a `MemStore`."""

    def __init__(self, store: MemStore) -> None:
        self._store = store
        self._started_at = time.monotonic()
        self._lease = 0
        self._published: set[str] = set()
        self._queues: set[asyncio.Queue[list[Event] | None]] = set()
        self._closed = False

    async def start(self) -> None:
        self._started_at = time.monotonic()

    async def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        if self._closed:
            return
        queue = self._store.subscribe(prefix)
        self._queues.add(queue)
        try:
            while (batch := await queue.get()) is not None:
                yield batch
        finally:
            self._store.unsubscribe(queue)
            self._queues.discard(queue)

    async def grant_lease(self) -> int:
        if not self._lease:
            self._lease = secrets.randbits(63) | 1
        return self._lease

    async def publish(self, key: str, value: bytes) -> None:
        if not self._lease:
            raise RuntimeError("publish() before grant_lease()")
        if self._store.get(key) is not None:
            raise KeyTaken(key)
        self._published.add(key)
        self._store.put(key, value)

    async def withdraw(self, key: str) -> None:
        if key in self._published:
            self._published.discard(key)
            self._store.delete(key)

    async def close(self) -> None:
        self._closed = True
        for key in sorted(self._published):
            await self.withdraw(key)
        self._lease = 0
        for queue in self._queues:
            queue.put_nowait(None)

    def status(self) -> DiscoveryStatus:
        return DiscoveryStatus("mem", not self._closed, time.monotonic() - self._started_at, "in this process")
