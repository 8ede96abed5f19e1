"""The KV blocks of running requests, shared prefixes counted once a rank: a radix tree over sequence hashes."""

from collections.abc import Sequence
from typing import Protocol

from dynamo_fe._cext.routing_score import Candidates

class Counts(Protocol):
    """What the tree tells of one slot: weighted blocks of all known requests, and of those of this process alone."""

    all: float
    own: float

class BlockCounts:
    """`Counts` and no more."""

    all: float
    own: float

class Segment:
    """A run of blocks without a fork; the last one of a request stands for it."""

class ActiveBlocks:
    """The tree of all ranks of a pool. A slot numbers a rank; `counts` is kept by whoever gives out slots. `hashes` are
    the sequence hashes of a request's blocks; an array of u64 is kept as it is and must not change.
    """

    @property
    def empty(self) -> bool:
        """Whether no block is held by anyone."""
    def shared(self, hashes: Sequence[int]) -> dict[int, int]:
        """By slot, how many leading blocks of `hashes` are live there; slots with none are absent."""
    def show_shared(self, hashes: Sequence[int], columns: Candidates) -> None:
        """Writes them to `columns.shared_prefix`, the others' rows untouched. Raises IndexError: no row for a slot."""
    def add(self, hashes: Sequence[int], slot: int, counts: Counts, own: bool) -> Segment | None:
        """A request begins on a rank. Returns its leaf, None for a request of no block."""
    def remove(self, leaf: Segment, slot: int, counts: Counts, own: bool) -> None:
        """That request has ended."""
    def weigh(self, leaf: Segment, slot: int, counts: Counts, weight: float) -> None:
        """Sets the weight of the blocks that the request at `leaf` alone holds: from the leaf up to the first block
        that another request of the rank has as well.
        """
