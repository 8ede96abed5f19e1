"""What a rank probably holds, told from the routing decisions alone: without KV events, and until they arrive.

Every decision leases its blocks. By time a lease ends after `ttl_secs`, so that a block lives for that long after the
last decision that touched it; by size the oldest leases give way, from their last blocks on. Sans I/O: the caller
brings the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from dynamo_fe.routing.kv.active_blocks import ActiveBlocks, BlockCounts, Segment


class _Lease(NamedTuple):
    hashes: Sequence[int]
    leaf: Segment | None
    until: float


class _Held:
    """One rank's leases, oldest first. `capacity` in blocks, None where nothing but time ends them."""

    __slots__ = ("capacity", "counts", "leases")

    def __init__(self) -> None:
        self.counts = BlockCounts()
        self.capacity: int | None = None
        self.leases: OrderedDict[int, _Lease] = OrderedDict()


class ApproximateIndex:
    """By slot of the pool. `by_size` keeps as many blocks as a rank has room for and looks at no time there; ranks of
    unknown size go by time all the same.
    """

    def __init__(self, ttl_secs: float, by_size: bool = False) -> None:
        self._ttl_secs = ttl_secs
        self._by_size = by_size
        self._tree = ActiveBlocks()
        self._held: dict[int, _Held] = {}
        self._count = 0
        self.evicted_total = 0

    def depths(self, hashes: Sequence[int], now: float) -> dict[int, int]:
        """By slot, how many leading blocks of `hashes` (sequence hashes) it probably holds; absent: none."""
        self.expire(now)
        return self._tree.shared(hashes)

    def note(self, slot: int, hashes: Sequence[int], capacity_blocks: int | None, now: float) -> None:
        """A request with these blocks went to the rank."""
        if not len(hashes):
            return
        held = self._held.setdefault(slot, _Held())
        held.capacity = capacity_blocks if self._by_size else None
        if held.capacity is not None:
            hashes = hashes[: held.capacity]
        leaf = self._tree.add(hashes, slot, held.counts, own=False)
        self._count += 1
        until = float("inf") if held.capacity is not None else now + self._ttl_secs
        held.leases[self._count] = _Lease(hashes, leaf, until)
        self._shrink(slot, held)

    def expire(self, now: float) -> None:
        """Ends the leases whose time is over."""
        for slot, held in self._held.items():
            while held.leases and next(iter(held.leases.values())).until <= now:
                self._end(slot, held)

    def forget(self, slot: int) -> None:
        """The rank is gone."""
        held = self._held.pop(slot, None)
        while held is not None and held.leases:
            self._end(slot, held)

    def since(self, now: float) -> float:
        """From when on decisions matter."""
        return 0.0 if self._by_size else max(0.0, now - self._ttl_secs)

    @property
    def blocks(self) -> int:
        """Blocks held by all ranks."""
        return sum(round(held.counts.all) for held in self._held.values())

    @property
    def leases(self) -> int:
        """Decisions remembered."""
        return sum(len(held.leases) for held in self._held.values())

    def _end(self, slot: int, held: _Held) -> _Lease:
        _, lease = held.leases.popitem(last=False)
        if lease.leaf is not None:
            self._tree.remove(lease.leaf, slot, held.counts, own=False)
        return lease

    def _shrink(self, slot: int, held: _Held) -> None:
        capacity = held.capacity
        while capacity is not None and held.counts.all > capacity:
            before = held.counts.all
            number = next(iter(held.leases))
            lease = self._end(slot, held)
            freed = before - held.counts.all
            spare = int(capacity - held.counts.all)
            if spare > 0:
                # blocks that other leases hold as well come first, then as many of its own as there is room for
                kept = lease.hashes[: len(lease.hashes) - int(freed) + spare]
                leaf = self._tree.add(kept, slot, held.counts, own=False)
                held.leases[number] = _Lease(kept, leaf, lease.until)
                held.leases.move_to_end(number, last=False)
            self.evicted_total += int(before - held.counts.all)
