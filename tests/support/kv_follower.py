"""Our consumer of KV events in the test's own process over an index in plain Python, and what workers say they hold."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections.abc import Callable
from types import TracebackType
from typing import Any

from dynamo_fe.config.load import load
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.factory import open_event_plane
from dynamo_fe.planes.request.factory import open_request_plane
from dynamo_fe.protocol.event_records import SOURCES_PREFIX, EventSource, parse_source, recovery_instance
from dynamo_fe.protocol.events import read_blocks
from dynamo_fe.protocol.kv_recovery import RecoveryQuery, TreeDump, decode_answer
from dynamo_fe.routing.kv_events.consumer import KvEventConsumer
from dynamo_fe.routing.kv_events.recovery import recover
from dynamo_fe.routing.kv_events.tally import TALLY_BYTES, Tally
from tests.reference.prefix_index import Index

PATIENCE_SECS = 60.0
Rank = tuple[int, int]


class PlainIndex:
    """The reference index behind the verbs of the product's, with the outcomes counted and every change told."""

    def __init__(self) -> None:
        self._index = Index()
        self.counts: dict[tuple[str, str], int] = {}
        self.changed = asyncio.Event()

    def held(self) -> dict[Rank, set[tuple[int, int]]]:
        """(tier, block hash) of everything, by rank."""
        found: dict[Rank, set[tuple[int, int]]] = {rank: set() for rank in self._index.ranks}
        for worker_id, dp_rank, tier, _, block in self._index.blocks():
            found[worker_id, dp_rank].add((tier, block))
        return {rank: blocks for rank, blocks in found.items() if blocks}

    def stored(
        self, worker: int, rank: int, parent: int | None, blocks: array[int], local: array[int], tier: int = 0
    ) -> str:
        pairs = list(zip(blocks, local, strict=True))
        return self._counted("stored", self._index.stored(worker, rank, parent, pairs, tier))

    def removed(self, worker: int, rank: int, blocks: array[int], tier: int = 0) -> str:
        return self._counted("removed", self._index.removed(worker, rank, blocks, tier))

    def cleared(self, worker: int, rank: int) -> str:
        return self._counted("cleared", self._index.cleared(worker, rank))

    def remove_rank(self, worker: int, rank: int) -> bool:
        self.changed.set()
        return self._index.remove_rank(worker, rank)

    def count(self, event: str, status: str) -> None:
        self.counts[event, status] = self.counts.get((event, status), 0) + 1
        self.changed.set()

    def _counted(self, event: str, status: str) -> str:
        self.count(event, status)
        return status


class KvFollower:
    """Follows the workers of one store while the `async with` lasts.

    `loss` is the share of messages that get lost before they reach the consumer, `lost` how many did.
    """

    def __init__(self, environment: dict[str, str], loss: float = 0.0) -> None:
        self.loss = loss
        self.lost = 0
        self._chance = random.Random(1)
        self._settings = load([], environment).settings
        self.index = PlainIndex()
        self.tally = Tally(bytearray(TALLY_BYTES))
        self.sources: dict[str, EventSource] = {}

    async def __aenter__(self) -> KvFollower:
        self._discovery = open_discovery(self._settings)
        self._requests = open_request_plane(self._settings)
        records = Records(self._discovery)
        self.events = open_event_plane(self._settings, records)
        await self._discovery.start()
        await self._requests.start()
        await self.events.start()
        self._own = records.follow(SOURCES_PREFIX, self._put, self._gone)
        self.consumer = KvEventConsumer(
            self.events, self._requests, records, self.index, self.tally, accepts=lambda namespace: True
        )
        hear = self.consumer.on_event

        def hear_some(publisher_id: int, payload: bytes) -> None:
            if self._chance.random() < self.loss:
                self.lost += 1
            else:
                hear(publisher_id, payload)

        self.consumer.on_event = hear_some  # type: ignore[method-assign]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.close()
        self.consumer.close()
        await self.events.close()
        await self._requests.close()
        await self._discovery.close()

    def _put(self, key: str, value: bytes) -> None:
        self.sources[key] = parse_source(key, value)
        self.index.changed.set()

    def _gone(self, key: str) -> None:
        del self.sources[key]
        self.index.changed.set()

    def ranks(self) -> set[Rank]:
        """Those that discovery names."""
        workers = [source.metadata.worker for source in self.sources.values()]
        return {(worker.worker_id, worker.dp_rank) for worker in workers}

    async def truth(self) -> dict[Rank, set[tuple[int, int]]]:
        """What every worker says it holds, asked of each."""
        found = {}
        for source in list(self.sources.values()):
            worker = source.metadata.worker
            target = recovery_instance(source)
            item = await recover(self._requests, target, RecoveryQuery(worker.worker_id, worker.dp_rank, None))
            answer, unreadable = decode_answer(item, target.codec)
            assert isinstance(answer, TreeDump) and not unreadable
            said = PlainIndex()
            for event in answer.events:
                data: Any = event.event.data
                tier = ("device", "host_pinned", "disk", "external").index(event.storage_tier)
                if data.stored is None:
                    # a dump ends with the events since it was drawn
                    said.removed(worker.worker_id, worker.dp_rank, array("Q", data.removed.block_hashes), tier)
                    continue
                listed = read_blocks(data.stored)
                blocks = array("Q", [block.block_hash for block in listed])
                local = array("Q", [block.tokens_hash for block in listed])
                said.stored(worker.worker_id, worker.dp_rank, data.stored.parent_hash, blocks, local, tier)
            found |= said.held()
        return found

    async def until(self, holds: Callable[[], bool], timeout_secs: float = PATIENCE_SECS) -> None:
        """Waits until `holds()`; looks again after every change of the index or of discovery."""
        try:
            async with asyncio.timeout(timeout_secs):
                while not holds():
                    self.index.changed.clear()
                    await self.index.changed.wait()
        except TimeoutError:
            told = f"{self.index.counts}, {self.tally.values()}, {len(self.sources)} sources"
            raise AssertionError(f"not in {timeout_secs:g} s: {told}") from None

    async def until_right(self, timeout_secs: float = PATIENCE_SECS) -> dict[Rank, set[tuple[int, int]]]:
        """Waits until the index holds what the workers say they hold, and returns that.

        They are asked again and again: what they say may be older than the events that have come.
        """
        deadline = time.monotonic() + timeout_secs
        while (truth := await self.truth()) != self.index.held():
            told = f"{self.index.counts}, {self.tally.values()}"
            assert time.monotonic() < deadline, f"not right in {timeout_secs:g} s: {told}"
            await asyncio.sleep(0.02)
        return truth
