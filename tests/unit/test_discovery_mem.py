"""`mem` discovery: what one participant publishes, another one sharing the store sees."""

from __future__ import annotations

import pytest

from dynamo_fe.discovery.base import Delete, KeyTaken, Put, Snapshot
from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from tests.support.watching import Watching

KEY = "v1/instances/ns/backend/generate/1f"


async def test_a_watch_starts_with_the_state_and_then_tells_changes() -> None:
    store = MemStore()
    worker, frontend = MemDiscovery(store), MemDiscovery(store)
    store.put("v1/mdc/ns/backend/generate/1f", b"card")
    store.put("v1/instances/ns/a/b/1", b"old")
    assert await worker.grant_lease() == await worker.grant_lease() > 0
    async with Watching(frontend, "v1/instances/") as watching:
        await watching.until_state({"v1/instances/ns/a/b/1": b"old"})
        await worker.publish(KEY, b"new")
        await watching.until(lambda: Put(KEY, b"new") in watching.events)
        await worker.withdraw(KEY)
        await watching.until(lambda: Delete(KEY) in watching.events)
    assert watching.snapshots == [Snapshot({"v1/instances/ns/a/b/1": b"old"}, after_outage=False)]


async def test_a_key_is_created_once() -> None:
    store = MemStore()
    first, second = MemDiscovery(store), MemDiscovery(store)
    with pytest.raises(RuntimeError):
        await first.publish(KEY, b"1")
    await first.grant_lease()
    await second.grant_lease()
    await first.publish(KEY, b"1")
    with pytest.raises(KeyTaken):
        await second.publish(KEY, b"2")
    await second.withdraw(KEY)
    assert store.get(KEY) == b"1"


async def test_closing_withdraws_and_ends_the_watches() -> None:
    store = MemStore()
    worker = MemDiscovery(store)
    await worker.grant_lease()
    await worker.publish(KEY, b"1")
    async with Watching(worker, "v1/") as watching:
        await watching.until_state({KEY: b"1"})
        await worker.close()
        await watching.join()
    assert store.get(KEY) is None
    assert worker.status().connected is False
