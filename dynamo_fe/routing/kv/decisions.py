"""What the routers of one host decide, told to each other: so that all of them guess alike what a rank holds.

Each process has a ring in memory that all inherit and writes to no other one; the rest read it before a choice. What a
process told stays readable when it has ended, until newer decisions need the room: whoever starts later begins with it.
"""

from __future__ import annotations

import hashlib
import mmap
from array import array
from collections.abc import Collection
from typing import Final

from dynamo_fe._cext.decision_rings import RingReader, RingWriter
from dynamo_fe.routing.kv.approximate import ApproximateIndex
from dynamo_fe.routing.kv.ranks import RankId, RankLoads

_NS: Final = 1_000_000_000


def pool_number(name: tuple[object, ...]) -> int:
    """What stands for a pool in a ring."""
    return int.from_bytes(hashlib.blake2b(repr(name).encode(), digest_size=8).digest())


class DecisionLog:
    """Rings for so many processes, of `budget_bytes` together. Made before the processes are forked."""

    def __init__(self, processes: int, budget_bytes: int) -> None:
        """Raises OSError if the host has no such memory."""
        self.processes = processes
        self.budget_bytes = budget_bytes
        self.memory = mmap.mmap(-1, budget_bytes)


class Decisions:
    """The part of one process in a log, with the counts of what it told, what it heard from others and noted, and what
    was overwritten before it was heard.
    """

    def __init__(self, log: DecisionLog, process: int) -> None:
        self.log = log
        self.process = process
        self.writer = RingWriter(log.memory, log.processes, process)
        self.told_total = self.heard_total = self.lost_total = 0

    def of_pool(self, name: tuple[object, ...]) -> PoolDecisions:
        """Those about the ranks of one pool; every process has the same name for it."""
        return PoolDecisions(self, pool_number(name))


class PoolDecisions:
    """Times are those of the monotonic clock, of which a host has but one."""

    def __init__(self, decisions: Decisions, pool: int) -> None:
        self._decisions = decisions
        self._pool = pool
        self._reader = RingReader(decisions.log.memory, decisions.log.processes, decisions.process)
        self._forgotten_at = 0.0
        self._lost = 0

    @property
    def budget_bytes(self) -> int:
        """What all processes together may tell before the oldest gives way."""
        return self._decisions.log.budget_bytes

    def tell(self, key: RankId, hashes: array[int], now: float) -> None:
        """A request with these blocks went to the rank."""
        self._decisions.writer.write(self._pool, *key, int(now * _NS), hashes)
        self._decisions.told_total += 1

    def hear(self, index: ApproximateIndex, loads: RankLoads, now: float) -> None:
        """Notes what others have decided since the last call, as far as the pool has the ranks."""
        found = self._reader.read(self._pool, int(index.since(now) * _NS))
        if not found:
            return
        for time_ns, worker_id, dp_rank, hashes in found:
            self._note(index, loads, (worker_id, dp_rank), hashes, time_ns)
        self._decisions.lost_total += self._reader.lost - self._lost
        self._lost = self._reader.lost

    def settled(
        self, come: Collection[RankId], gone: bool, index: ApproximateIndex, loads: RankLoads, now: float
    ) -> None:
        """The ranks have changed. Notes what is still told of those that have come, which `hear` has passed over; one
        that comes back after it was gone comes without what it held before.
        """
        if come:
            self._hear_of(come, index, loads, now)
        if gone:
            self._forgotten_at = now

    def _hear_of(self, ranks: Collection[RankId], index: ApproximateIndex, loads: RankLoads, now: float) -> None:
        log = self._decisions.log
        since = max(index.since(now), self._forgotten_at)
        workers = {worker_id for worker_id, _ in ranks}
        for time_ns, worker_id, dp_rank, hashes in RingReader(log.memory, log.processes).read(
            self._pool, int(since * _NS), workers
        ):
            if (worker_id, dp_rank) in ranks:
                self._note(index, loads, (worker_id, dp_rank), hashes, time_ns)

    def _note(self, index: ApproximateIndex, loads: RankLoads, key: RankId, hashes: array[int], time_ns: int) -> None:
        rank = loads.get(*key)
        if rank is not None:
            index.note(rank.slot, hashes, rank.traits.total_kv_blocks, time_ns / _NS)
            self._decisions.heard_total += 1
