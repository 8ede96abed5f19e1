"""What cext/decision_rings.pyx does, in plain Python: the records that each ring still has room for."""

from __future__ import annotations

from array import array
from collections import deque
from typing import NamedTuple

HEADER_WORDS = 8
RECORD_WORDS = 5


class Record(NamedTuple):
    number: int
    pool: int
    worker_id: int
    dp_rank: int
    time_ns: int
    hashes: array[int]

    @property
    def words(self) -> int:
        return RECORD_WORDS + len(self.hashes)


class Rings:
    def __init__(self, memory_bytes: int, rings: int) -> None:
        self.capacity = memory_bytes // 8 // rings - HEADER_WORDS
        self.rings: list[deque[Record]] = [deque() for _ in range(rings)]
        self.records = [0] * rings

    def write(self, ring: int, pool: int, worker_id: int, dp_rank: int, time_ns: int, hashes: array[int]) -> None:
        hashes = hashes[: self.capacity // 2 - RECORD_WORDS]
        record = Record(self.records[ring], pool, worker_id, dp_rank, time_ns, hashes)
        held = self.rings[ring]
        while sum(each.words for each in held) + record.words > self.capacity:
            held.popleft()
        held.append(record)
        self.records[ring] += 1


class Reader:
    def __init__(self, rings: Rings, own: int) -> None:
        self._rings = rings
        self._next: list[int | None] = [None if count else 0 for count in rings.records]
        self._own = own
        self.lost = 0

    def read(
        self, pool: int, since_ns: int = 0, workers: set[int] | None = None
    ) -> list[tuple[int, int, int, array[int]]]:
        found = []
        for ring, held in enumerate(self._rings.rings):
            for record in held if ring != self._own else ():
                expected = self._next[ring]
                if expected is not None and record.number < expected:
                    continue
                self.lost += 0 if expected is None else record.number - expected
                self._next[ring] = record.number + 1
                if record.pool == pool and record.time_ns >= since_ns:
                    if workers is None or record.worker_id in workers:
                        found.append((record.time_ns, record.worker_id, record.dp_rank, record.hashes))
        return sorted(found, key=lambda decision: decision[0])
