from array import array
from collections.abc import Iterator
from typing import Literal

from typing_extensions import Buffer

Status = Literal["ok", "parent_block_not_found", "block_not_found", "invalid_block", "rank_limit", "no_room"]

TIERS: tuple[str, str, str, str]
STATUSES: tuple[Status, ...]

def region_bytes(blocks: int, max_ranks: int = 1024) -> int: ...

class Overlaps:
    """What one find says of every rank, by slot of the index: leading blocks of the prompt on device, then those that
    its host tier continues with, then those of disk and external together. Made once, filled by every find.
    """

    device: array[int]
    host: array[int]
    disk: array[int]
    def __init__(self, max_ranks: int = 1024) -> None: ...
    def ranks(self) -> list[tuple[int, int, int, int]]:
        """(slot, device, host, disk) of the ranks with a match."""
    def raise_device(self, slots: Buffer, device: Buffer) -> None:
        """Lifts the device depth of `slots[i]` (i32, -1: skip) to `device[i]` (u32) where it is less."""

class Reader:
    """Finds and looks up, in this process or another one than the writer's; never locks, never writes.

    `memory` is the region that a Writer has made, mapped read-only or not. A find beside a writer says what was true at
    one moment during the call.
    """

    max_ranks: int
    generation: int
    ranks_version: int
    def __init__(self, memory: Buffer) -> None:
        """Raises ValueError for memory that holds no index."""
    def ranks(self) -> list[tuple[int, int, int]]:
        """(slot, worker_id, dp_rank) of all ranks; a rank keeps its slot until it is removed. It changes with
        `ranks_version`."""
    def find(self, local_hashes: Buffer, overlaps: Overlaps) -> int:
        """Fills `overlaps` and returns how many ranks have a match."""
    def stats(self) -> dict[str, int]: ...

class Writer(Reader):
    """The one writer of a region. Making it empties the region."""

    def __init__(self, memory: Buffer, max_ranks: int = 1024) -> None:
        """Raises ValueError for memory that is read-only or too small."""
    def stored(
        self,
        worker_id: int,
        dp_rank: int,
        parent: int | None,
        block_hashes: Buffer,
        local_hashes: Buffer,
        tier: int = 0,
    ) -> Status: ...
    def removed(self, worker_id: int, dp_rank: int, block_hashes: Buffer, tier: int = 0) -> Status: ...
    def cleared(self, worker_id: int, dp_rank: int) -> Status: ...
    def remove_rank(self, worker_id: int, dp_rank: int) -> bool: ...
    def remove_worker(self, worker_id: int) -> int: ...
    def count(self, event: Literal["stored", "removed", "cleared"], status: str) -> None: ...
    def dump(self) -> Iterator[tuple[int, int, int, int | None, array[int], array[int]]]:
        """(worker_id, dp_rank, tier, parent, block hashes, local hashes): stores that make the index again."""
