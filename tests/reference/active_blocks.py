"""What cext/active_blocks.pyx does, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from dynamo_fe._cext.routing_score import Candidates


class Hold:
    """One rank's share in a segment: `refs` requests run through all of it, `own` of them are this process's.

    `weight` is what each of its blocks counts for there.
    """

    __slots__ = ("own", "refs", "weight")

    def __init__(self, refs: int, own: int, weight: float) -> None:
        self.refs = refs
        self.own = own
        self.weight = weight


class Segment:
    """A run of blocks without a fork: those at `start` to `end` of `hashes`. `holds` is by slot."""

    __slots__ = ("children", "end", "hashes", "holds", "parent", "start")

    def __init__(self, hashes: Sequence[int], start: int, end: int, parent: Segment | None) -> None:
        self.hashes = hashes
        self.start = start
        self.end = end
        self.parent = parent
        self.children: dict[int, Segment] = {}
        self.holds: dict[int, Hold] = {}


class Counts(Protocol):
    """What the tree tells of one slot: weighted blocks of all known requests, and of those of this process alone."""

    all: float
    own: float


class BlockCounts:
    """`Counts` and no more."""

    __slots__ = ("all", "own")

    def __init__(self) -> None:
        self.all = 0.0
        self.own = 0.0


class ActiveBlocks:
    """The tree of all ranks of a pool. A slot numbers a rank; `counts` is kept by whoever gives out slots."""

    def __init__(self) -> None:
        self._root: Final = Segment((), 0, 0, None)

    @property
    def empty(self) -> bool:
        """Whether no block is held by anyone."""
        return not self._root.children

    def shared(self, hashes: Sequence[int]) -> dict[int, int]:
        """By slot, how many leading blocks of `hashes` (sequence hashes) are live there; slots with none are absent."""
        found: dict[int, int] = {}
        segment, at = self._root, 0
        while at < len(hashes):
            child = segment.children.get(hashes[at])
            if child is None:
                break
            at = _common(child, hashes)
            for slot in child.holds:
                found[slot] = at
            if at < child.end:
                break
            segment = child
        return found

    def show_shared(self, hashes: Sequence[int], columns: Candidates) -> None:
        for slot, depth in self.shared(hashes).items():
            columns.shared_prefix[slot] = depth

    def add(self, hashes: Sequence[int], slot: int, counts: Counts, own: bool) -> Segment | None:
        """A request with these sequence hashes begins on a rank. Returns its leaf, None for a request of no block."""
        segment, at = self._root, 0
        while at < len(hashes):
            child = segment.children.get(hashes[at])
            if child is None:
                child = Segment(hashes, at, len(hashes), segment)
                segment.children[hashes[at]] = child
                at = child.end
            else:
                at = _common(child, hashes)
                if at < child.end:
                    child = _split(child, at)
            _hold(child, slot, counts, own)
            segment = child
        return segment if segment is not self._root else None

    def remove(self, leaf: Segment, slot: int, counts: Counts, own: bool) -> None:
        """That request has ended."""
        segment: Segment = leaf
        while segment.parent is not None:
            hold = segment.holds[slot]
            size = (segment.end - segment.start) * hold.weight
            hold.refs -= 1
            hold.own -= own
            if own and not hold.own:
                counts.own -= size
            if not hold.refs:
                counts.all -= size
                del segment.holds[slot]
                if not segment.holds:
                    del segment.parent.children[segment.hashes[segment.start]]
            segment = segment.parent

    def weigh(self, leaf: Segment, slot: int, counts: Counts, weight: float) -> None:
        """Sets the weight of the blocks that the request at `leaf` alone holds: from the leaf up to the first block
        that another request of the rank has as well.
        """
        segment: Segment = leaf
        while segment.parent is not None:
            hold = segment.holds[slot]
            if hold.refs > 1:
                return
            change = (segment.end - segment.start) * (weight - hold.weight)
            counts.all += change
            if hold.own:
                counts.own += change
            hold.weight = weight
            segment = segment.parent


def _common(segment: Segment, hashes: Sequence[int]) -> int:
    """Up to which block the segment and `hashes` agree; their first blocks do."""
    own = segment.hashes
    high = min(segment.end, len(hashes))
    if own[high - 1] == hashes[high - 1]:
        return high
    low = segment.start + 1
    high -= 1
    while low < high:
        middle = (low + high + 1) // 2
        if own[middle - 1] == hashes[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


def _split(segment: Segment, at: int) -> Segment:
    """Parts a segment before block `at` and returns the upper part; the object stays the lower one, whose leaves it
    holds.
    """
    parent = segment.parent
    assert parent is not None
    upper = Segment(segment.hashes, segment.start, at, parent)
    upper.holds = {slot: Hold(hold.refs, hold.own, hold.weight) for slot, hold in segment.holds.items()}
    upper.children[segment.hashes[at]] = segment
    parent.children[segment.hashes[segment.start]] = upper
    segment.start, segment.parent = at, upper
    return upper


def _hold(segment: Segment, slot: int, counts: Counts, own: bool) -> None:
    size = segment.end - segment.start
    hold = segment.holds.get(slot)
    if hold is None:
        hold = segment.holds[slot] = Hold(0, 0, 1.0)
        counts.all += size
    if own and not hold.own:
        counts.own += size * hold.weight
    hold.refs += 1
    hold.own += own
