"""What a mock worker says on the event plane, and how it registers that it does."""

from __future__ import annotations

from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.base import EventPlane, EventPublisher
from dynamo_fe.protocol.event_records import endpoint_scope
from dynamo_fe.protocol.events import (
    ACTIVE_SEQUENCES,
    KV_EVENTS,
    KV_METRICS,
    KvMetrics,
    SequenceEvent,
    WorkerRank,
    encode,
    encode_sequences,
)
from dynamo_fe.workers import registration
from dynamo_fe.workers.kv_blocks import KvBlocks
from dynamo_fe.workers.kv_journal import KvJournal
from dynamo_fe.workers.options import MockOptions


class KvPublishing:
    """As Dynamo 1.6.1's mocker: for each rank a publisher of its KV events and an endpoint that repeats them, for the
    worker one of its load and one of requests whose prefill is done."""

    def __init__(self, options: MockOptions, plane: EventPlane, records: Records, pools: list[KvBlocks]) -> None:
        self._options = options
        self._plane = plane
        self._records = records
        self._pools = pools
        self._instance_id = 0
        self._published: list[tuple[KvJournal, EventPublisher]] = []
        self._metrics: EventPublisher | None = None
        self._sequences: EventPublisher | None = None
        self._told_blocks: list[int | None] = [None] * len(pools)
        # by the path that queries for it carry
        self.journals: dict[str, KvJournal] = {}

    async def start(self, instance_id: int, address: str) -> None:
        """Registers everything; `address` is the HOST:PORT of the request port, which must be open. Raises OSError."""
        options = self._options
        self._instance_id = instance_id
        await self._plane.start()
        scope = endpoint_scope(options.namespace, options.component, options.endpoint)
        self._metrics = await self._plane.publisher(scope, KV_METRICS)
        self._sequences = await self._plane.publisher(scope, ACTIVE_SEQUENCES)
        for dp_rank, pool in enumerate(self._pools):
            publisher = await self._plane.publisher(scope, KV_EVENTS)
            journal = KvJournal(instance_id, dp_rank, pool)
            target = registration.query_record(options, instance_id, address, publisher.publisher_id)
            source = registration.source_record(options, instance_id, address, publisher.publisher_id, dp_rank)
            self.journals[registration.query_path(options, instance_id, publisher.publisher_id)] = journal
            self._published.append((journal, publisher))
            for record in (target, source):
                await self._records.register(record.key, record.value)
        self.flush()

    def flush(self) -> None:
        """Publishes what has happened in the caches since the last call."""
        for (journal, publisher), pool in zip(self._published, self._pools, strict=True):
            events = journal.take()
            if events:
                publisher.publish(encode(events))
            if self._metrics is not None and self._told_blocks[journal.dp_rank] != pool.used_blocks:
                self._told_blocks[journal.dp_rank] = pool.used_blocks
                load = KvMetrics(self._instance_id, journal.dp_rank, None, None, pool.used_blocks)
                self._metrics.publish(encode(load))

    def prefilled(self, request_id: str, dp_rank: int) -> None:
        """A request has its first token."""
        if self._sequences is None:
            return
        rank = WorkerRank(self._instance_id, dp_rank)
        done = SequenceEvent(request_id, rank, "MarkPrefillCompleted", self._instance_id)
        for payload in encode_sequences([done], self._plane.transport):
            self._sequences.publish(payload)

    async def close(self) -> None:
        """Takes all of it back."""
        await self._plane.close()
