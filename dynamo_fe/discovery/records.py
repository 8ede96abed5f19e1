"""A simpler hold on discovery: register a record, follow the records below a prefix."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from dynamo_fe.discovery.base import Discovery, Put
from dynamo_fe.discovery.store_view import StoreView


class Following:
    """One prefix that is followed; ends with `close`."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def close(self) -> None:
        """Nothing is told any more. Idempotent."""
        self._task.cancel()


class Records:
    """For parts that need neither snapshots nor outages told: what the store forgot stands for its grace."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def register(self, key: str, value: bytes) -> None:
        """Puts a record on the lease; waits for the store as long as it takes. Raises `KeyTaken`."""
        await self._discovery.grant_lease()
        await self._discovery.publish(key, value)

    async def withdraw(self, key: str) -> None:
        """Takes back a record that was registered here."""
        await self._discovery.withdraw(key)

    def follow(self, prefix: str, on_put: Callable[[str, bytes], None], on_gone: Callable[[str], None]) -> Following:
        """Tells of records that are there, change or go. Must be called on the running loop."""
        return Following(asyncio.get_running_loop().create_task(self._follow(prefix, on_put, on_gone), name=prefix))

    async def _follow(self, prefix: str, on_put: Callable[[str, bytes], None], on_gone: Callable[[str], None]) -> None:
        view = StoreView()
        async for batch in self._discovery.watch(prefix):
            now = time.monotonic()
            changes = [change for event in batch for change in view.apply(event, now)]
            for change in (*changes, *view.expire(now)):
                if isinstance(change, Put):
                    on_put(change.key, change.value)
                else:
                    on_gone(change.key)
