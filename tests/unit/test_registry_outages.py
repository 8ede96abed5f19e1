"""What the registry serves on when the store has lost what it knew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynamo_fe.discovery.base import Event, Put, Snapshot
from dynamo_fe.discovery.mem import MemDiscovery, MemStore
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.protocol.card import ModelCard
from tests.support.records import WorkerRecords

FIRST, SECOND = WorkerRecords(1), WorkerRecords(2)
GRACE_SECS = 600.0


class ScriptedDiscovery(MemDiscovery):
    """Its watches tell what the test says, and the test knows when it was taken in."""

    def __init__(self) -> None:
        super().__init__(MemStore())
        self.queues: dict[str, asyncio.Queue[list[Event]]] = {}

    async def watch(self, prefix: str) -> AsyncIterator[list[Event]]:
        queue = self.queues.setdefault(prefix, asyncio.Queue())
        while True:
            batch = await queue.get()
            yield batch
            queue.task_done()

    async def tell(self, prefix: str, *events: Event) -> None:
        queue = self.queues.setdefault(prefix, asyncio.Queue())
        queue.put_nowait(list(events))
        await queue.join()


class Bench:
    """A registry with two workers, a clock that the test sets, and what the registry did."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.discovery = ScriptedDiscovery()
        self.removed: list[int] = []
        self.registry = ModelRegistry(
            self.discovery,
            self.load,
            NamespaceFilter(),
            self.removed.append,
            grace_secs=GRACE_SECS,
            clock=lambda: self.now,
        )

    async def load(self, card: ModelCard) -> ServedModel:
        return ServedModel(card.display_name, card, "sum", 0, [], None, None)

    async def snapshot(self, *workers: WorkerRecords, after_outage: bool = True) -> None:
        cards = {worker.card_key: worker.card for worker in workers}
        instances = {worker.instance_key: worker.instance for worker in workers}
        await self.discovery.tell("v1/mdc/", Snapshot(cards, after_outage))
        await self.discovery.tell("v1/instances/", Snapshot(instances, after_outage))

    def ids(self) -> set[int]:
        return {instance_id for found in self.registry.find("tiny") for instance_id in found.instances}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.create_task(bench.registry.run())
    await bench.snapshot(FIRST, SECOND, after_outage=False)
    async with asyncio.timeout(5):
        while bench.ids() != {1, 2}:
            await asyncio.sleep(0)
    yield bench
    await bench.registry.close()
    await running


async def test_an_emptied_store_does_not_stop_serving(bench: Bench) -> None:
    await bench.snapshot()
    assert bench.ids() == {1, 2}
    assert bench.removed == []
    await bench.snapshot(FIRST, SECOND)
    bench.registry.suspect(1)
    assert bench.ids() == {1, 2}


async def test_a_suspect_without_a_record_is_given_up(bench: Bench) -> None:
    await bench.snapshot(SECOND)
    bench.registry.suspect(2)
    assert bench.ids() == {1, 2}
    bench.registry.suspect(1)
    assert bench.ids() == {2}
    assert bench.removed == [1]
    await bench.snapshot()
    bench.registry.suspect(2)
    assert not bench.registry.known("tiny")


async def test_a_worker_that_comes_back_under_another_id_takes_its_old_place(bench: Bench) -> None:
    await bench.snapshot()
    reborn: dict[str, Any] = {"port": 1024 + FIRST.instance_id}
    worker = WorkerRecords(7, **reborn)
    await bench.discovery.tell("v1/mdc/", Put(worker.card_key, worker.card))
    await bench.discovery.tell("v1/instances/", Put(worker.instance_key, worker.instance))
    assert bench.ids() == {2, 7}
    assert bench.removed == [1]


async def test_after_the_grace_the_unconfirmed_are_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[tuple[float, Any]] = []
    loop = asyncio.get_running_loop()
    real_call_later = loop.call_later

    def call_later(delay: float, callback: Any, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append((delay, callback))
        return real_call_later(delay, callback, *args, **kwargs)

    monkeypatch.setattr(loop, "call_later", call_later)
    await bench.snapshot(SECOND)
    delay, expire = timers[-1]
    assert delay == GRACE_SECS
    bench.now += GRACE_SECS
    expire()
    assert bench.ids() == {2}
    assert bench.removed == [1]
