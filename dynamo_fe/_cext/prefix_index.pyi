"""The prefix index: which rank holds which KV blocks. One process writes it, any number read it."""

from array import array
from typing import Literal

from typing_extensions import Buffer

Event = Literal["stored", "removed", "cleared"]
Status = Literal[
    "ok",
    "parent_block_not_found",
    "block_not_found",
    "invalid_block",
    "capacity_exhausted",
    "unsupported_residency_domain",
]

# A tier's number is its place here; so are the statuses in the order in which they are counted.
TIERS: tuple[str, str, str, str]
EVENTS: tuple[Event, Event, Event]
STATUSES: tuple[Status, ...]

def region_bytes(blocks: int, max_ranks: int = 1024) -> int:
    """The memory that holds so many different blocks. A rank is a worker's dp rank; at most 32,768.

    A block takes 64 bytes, 16 of them for the first eight ranks that own it, and 14 in two hash tables. With more
    owners it takes the room of another block for every 384 ranks among which there are any.
    """

class Overlaps:
    """What one find says of every rank, by slot of the index: leading blocks of the query on device, blocks that the
    rank's host tier goes on with, blocks that disk and external go on with after that. Made once, filled by every find.
    """

    device: array[int]
    host: array[int]
    disk: array[int]
    @property
    def whole(self) -> bool:
        """False when the last find may have missed blocks: there was no index, or its writer stood still in the middle
        of a change, waiting for a processor or dead."""
    def __init__(self, max_ranks: int = 1024) -> None: ...
    def ranks(self) -> list[tuple[int, int, int, int]]:
        """(slot, device, host, disk) of the ranks with a match."""

class Reader:
    """Looks into a region, in this process or another one than the writer's. Never locks, never writes.

    `memory` is a mapping of the region, read-only or not. What `find` says beside a writer was true at one moment of
    the call. Memory in which no index has been made yet, or is just being made, has no ranks and no matches.
    """

    def __init__(self, memory: Buffer) -> None:
        """Raises ValueError for memory that is too small or does not begin on a cache line."""
    @property
    def generation(self) -> int:
        """Changes whenever an index is made in this memory; odd while that is under way, 0 before."""
    @property
    def max_ranks(self) -> int: ...
    @property
    def ranks_version(self) -> int:
        """Grows with every rank that comes, is cleared or goes, and when the index is made anew; odd while it does."""
    def ranks(self) -> list[tuple[int, int, int]]:
        """(slot, worker_id, dp_rank) of all ranks. A rank has its slot until it is removed."""
    def find(self, local_hashes: Buffer | list[int], overlaps: Overlaps) -> int:
        """Fills `overlaps` and returns how many ranks have a match.

        Raises:
            ValueError: the index has more ranks than the overlaps; hashes that are no flat u64 words.
        """
    def stats(self) -> dict[str, int]:
        """Counts and bytes. `blocks` counts each device block once a rank that owns it, `nodes` what takes memory."""
    def events(self) -> dict[tuple[Event, Status], int]:
        """How many events were applied, by what came of them; also by the writers before this one."""

class Writer(Reader):
    """The one writer of a region. Making it makes an empty index there, also where a writer has died in mid-change.

    Ids and hashes are whatever the events say; an id is opaque and local to its rank. When the memory is full, blocks
    go that nothing continues, those that were stored least recently first.
    """

    def __init__(self, memory: Buffer, max_ranks: int = 1024) -> None:
        """Fresh memory must be zero. Raises ValueError for memory that is too small, BufferError if it is read-only."""
    def stored(
        self,
        worker_id: int,
        dp_rank: int,
        parent: int | None,
        block_hashes: Buffer | list[int],
        local_hashes: Buffer | list[int],
        tier: int = 0,
    ) -> Status:
        """A chain of blocks, the first one after `parent` (None: at the root). What is owned already stays as it is.

        `parent_block_not_found`: nothing has been stored (device tier; the others do not ask). `invalid_block`: a block
        named itself as its parent, `capacity_exhausted`: no room; what comes before it has been stored.

        Raises:
            ValueError: no such tier, or not as many local hashes as block hashes.
            OverflowError: a number that does not fit its field.
        """
    def removed(self, worker_id: int, dp_rank: int, block_hashes: Buffer | list[int], tier: int = 0) -> Status:
        """Each in order; `block_not_found` when any was not owned, the others have been removed all the same."""
    def cleared(self, worker_id: int, dp_rank: int) -> Status:
        """The rank holds nothing any more, in no tier."""
    def remove_rank(self, worker_id: int, dp_rank: int) -> bool:
        """The rank is gone with all that it held. False when there was none."""
    def remove_worker(self, worker_id: int) -> int:
        """All ranks of the worker are gone; how many."""
    def count(self, event: Event, status: Status) -> None:
        """Counts an event that was not applied."""
    def sweep(self) -> bool:
        """Gives back at once what cleared and removed ranks left behind; every event goes on with that a little. False
        when there was nothing."""
    def dump(self) -> list[tuple[int, int, int, int | None, array[int], array[int]]]:
        """(worker_id, dp_rank, tier, parent, block hashes, local hashes) of the stores that make the index again,
        parents first. Blocks to which no whole path of the same rank leads are left out."""
