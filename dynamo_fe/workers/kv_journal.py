"""The KV events of one rank of a worker, numbered and kept for whoever missed some. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Final

from dynamo_fe.protocol.events import Change, KvEvent, Removed, RouterEvent, Stored, StoredBlock, pack_blocks
from dynamo_fe.protocol.kv_recovery import Answer, Events, Failure, InvalidRange, RecoveryQuery, TooNew, TreeDump
from dynamo_fe.workers.kv_blocks import CacheChange, KvBlocks, StoredBlocks

KEPT_EVENTS: Final = 4096


class KvJournal:
    """Turns what happens in `blocks` into events with ids from 1; the latest `kept_events` can be asked for again."""

    def __init__(self, worker_id: int, dp_rank: int, blocks: KvBlocks, kept_events: int = KEPT_EVENTS) -> None:
        self.worker_id = worker_id
        self.dp_rank = dp_rank
        self.blocks = blocks
        self._kept: deque[RouterEvent] = deque(maxlen=kept_events)
        self._last_id = 0

    def take(self) -> list[RouterEvent]:
        """The events since the last call, for publishing."""
        fresh = []
        for change in self.blocks.take_changes():
            self._last_id += 1
            fresh.append(self._event(self._last_id, change))
        self._kept.extend(fresh)
        return fresh

    def answer(self, query: RecoveryQuery) -> Answer:
        """What Dynamo 1.6.1's workers answer to a recovery query."""
        if query.worker_id != self.worker_id:
            return _mismatch("worker_id", query.worker_id, self.worker_id)
        if query.dp_rank != self.dp_rank:
            return _mismatch("dp_rank", query.dp_rank, self.dp_rank)
        start, end = query.start_event_id, query.end_event_id
        if start is not None and end is not None and end < start:
            return InvalidRange(start, end)
        if start is not None and start > self._last_id:
            return TooNew(start, self._last_id if end is None else end, self._last_id)
        if start is None or not self._kept or start < self._kept[0].event.event_id:
            stores = enumerate(self.blocks.dump(), start=1)
            return TreeDump([self._event(number, stored) for number, stored in stores], self._last_id)
        return Events([event for event in self._kept if event.event.event_id >= start], self._last_id)

    def _event(self, event_id: int, change: CacheChange) -> RouterEvent:
        if isinstance(change, StoredBlocks):
            blocks = [StoredBlock(*pair) for pair in zip(change.hashes, change.local, strict=True)]
            data = Change(stored=Stored(change.parent, None, pack_blocks(blocks)))
        else:
            data = Change(removed=Removed(change.hashes.tolist()))
        return RouterEvent(worker_id=self.worker_id, event=KvEvent(event_id, data, self.dp_rank))


def _mismatch(field: str, asked: int, own: int) -> Failure:
    return Failure(f"WorkerKvQueryEngine::generate {field} mismatch: request.{field}={asked} this.{field}={own}")
