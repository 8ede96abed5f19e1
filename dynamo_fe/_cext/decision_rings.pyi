"""Rings of routing decisions in memory that processes share: one writer each, any number of readers."""

from array import array
from collections.abc import Collection, Sequence

from typing_extensions import Buffer

Decision = tuple[int, int, int, array[int]]

class RingWriter:
    def __init__(self, memory: Buffer, rings: int, ring: int) -> None: ...
    @property
    def records(self) -> int: ...
    def write(self, pool: int, worker_id: int, dp_rank: int, time_ns: int, hashes: array[int]) -> None: ...

class RingReader:
    def __init__(self, memory: Buffer, rings: int, own: int = -1) -> None: ...
    @property
    def lost(self) -> int: ...
    def read(self, pool: int, since_ns: int = 0, workers: Collection[int] | None = None) -> Sequence[Decision]: ...
