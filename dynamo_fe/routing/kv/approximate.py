"""What a rank probably holds, told from the routing decisions alone: without KV events, and until they arrive.

By time, every decision leases its blocks for `ttl_secs`, so that a block lives for that long after the last decision
that touched it. By size, a request keeps its blocks and those that it generates until its end; from then on the oldest
give way where a rank has no room, from their last blocks on. Sans I/O: the caller brings the time.

Source: Dynamo 1.6.1.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dynamo_fe._cext.active_blocks import ActiveBlocks, BlockCounts, Segment

_DEFAULT_BYTES: Final = 64 << 20
# of a lease beside its hashes: measured with prompts that share nothing
_LEASE_BYTES: Final = 800
_HASH_BYTES: Final = 8
# what stays of a full budget, so that not every decision has to look for the oldest
_KEPT_SHARE: Final = 0.875


class _Lease(NamedTuple):
    hashes: Sequence[int]
    leaf: Segment
    until: float

    @property
    def bytes(self) -> int:
        """About what it takes."""
        return _LEASE_BYTES + _HASH_BYTES * len(self.hashes)


class _Held:
    """One rank's leases, oldest first, and what runs there. `capacity` in blocks, None where nothing but time ends
    leases; `partial` blocks are those that running requests have begun, which nobody else can use. `of_leaf` finds the
    lease of a path: a later one of the same path takes its place.
    """

    __slots__ = ("capacity", "counts", "leases", "of_leaf", "partial", "running")

    def __init__(self) -> None:
        self.counts = BlockCounts()
        self.capacity: int | None = None
        self.leases: OrderedDict[int, _Lease] = OrderedDict()
        self.of_leaf: dict[Segment, int] = {}
        self.running: set[Running] = set()
        self.partial = 0

    @property
    def blocks(self) -> int:
        """All that takes room."""
        return round(self.counts.all) + self.partial


class Running:
    """What one running request holds of a rank by size. All of it may be called after the end, and after the rank's."""

    __slots__ = ("_index", "_partial", "_slot", "paths")

    def __init__(self, index: ApproximateIndex, slot: int, partial: int) -> None:
        self._index = index
        self._slot: int | None = slot
        self._partial = partial
        # by number of the answer; the prompt alone until there is one
        self.paths: dict[int | None, tuple[array[int], Segment | None]] = {}

    def grow(self, answer: int, hashes: array[int], partial: int) -> None:
        """An answer, one of several, has come to these blocks, the prompt's among them; `partial` counts those begun by
        all answers.
        """
        if self._slot is not None:
            self._index.grown(self, self._slot, answer, hashes, partial - self._partial)
            self._partial = partial

    def end(self) -> None:
        """It has ended, in whatever way: from now on its blocks may give way."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._index.ended(self, slot, self._partial)

    def drop(self) -> None:
        """The rank is gone."""
        self._slot = None


class ApproximateIndex:
    """By slot of the pool. `by_size` keeps as many blocks as a rank has room for and looks at no time there; ranks of
    unknown size go by time all the same. `on_end` is told of what requests that ran here leave behind. Leases take
    about `most_bytes`; beyond it the oldest end. `evicted_total` counts blocks that gave way for want of room.
    """

    def __init__(self, ttl_secs: float, by_size: bool = False) -> None:
        self.on_end: Callable[[int, array[int]], None] = lambda slot, hashes: None
        self._ttl_secs = ttl_secs
        self._by_size = by_size
        self._tree = ActiveBlocks()
        self._held: dict[int, _Held] = {}
        self._count = 0
        self.most_bytes = _DEFAULT_BYTES
        self.bytes = 0
        self.evicted_total = 0

    def depths(self, hashes: Sequence[int], now: float) -> dict[int, int]:
        """By slot, how many leading blocks of `hashes` (sequence hashes) it probably holds; absent: none."""
        self.expire(now)
        return self._tree.shared(hashes)

    def begin(
        self, slot: int, hashes: array[int], partial: int, capacity_blocks: int | None, now: float
    ) -> Running | None:
        """A request with these blocks goes to the rank; `partial` is 1 where its prompt ends within a block. By size it
        holds them until its end; None: there is nothing to tell of it later.
        """
        if not self._by_size or not capacity_blocks:
            self.note(slot, hashes, capacity_blocks, now)
            return None
        held = self._held_of(slot, capacity_blocks)
        running = Running(self, slot, partial)
        running.paths[None] = hashes, self._tree.add(hashes, slot, held.counts, own=False)
        held.running.add(running)
        held.partial += partial
        self._shrink(slot, held)
        return running

    def note(self, slot: int, hashes: Sequence[int], capacity_blocks: int | None, now: float) -> None:
        """A request with these blocks went to the rank, and nothing more is heard of it."""
        if not len(hashes):
            return
        held = self._held_of(slot, capacity_blocks)
        if held.capacity is not None:
            hashes = hashes[: held.capacity]
        leaf = self._tree.add(hashes, slot, held.counts, own=False)
        assert leaf is not None
        until = float("inf") if held.capacity is not None else now + self._ttl_secs
        self._lease(slot, held, _Lease(hashes, leaf, until))
        self._shrink(slot, held)

    def grown(self, running: Running, slot: int, answer: int, hashes: array[int], more_partial: int) -> None:
        """Called by a running request."""
        held = self._held[slot]
        held.partial += more_partial
        _, before = running.paths.pop(answer if answer in running.paths else None, (hashes, None))
        running.paths[answer] = hashes, self._tree.add(hashes, slot, held.counts, own=False)
        if before is not None:
            self._tree.remove(before, slot, held.counts, own=False)
        self._shrink(slot, held)

    def ended(self, running: Running, slot: int, partial: int) -> None:
        """Called by a running request, once."""
        held = self._held[slot]
        held.running.discard(running)
        held.partial -= partial
        for hashes, leaf in running.paths.values():
            if leaf is not None:
                self._lease(slot, held, _Lease(hashes, leaf, float("inf")))
                self.on_end(slot, hashes)
        self._shrink(slot, held)

    def expire(self, now: float) -> None:
        """Ends the leases whose time is over."""
        for slot, held in self._held.items():
            while held.leases and next(iter(held.leases.values())).until <= now:
                self._end(slot, held)

    def forget(self, slot: int) -> None:
        """The rank is gone."""
        held = self._held.pop(slot, None)
        if held is None:
            return
        for running in held.running:
            running.drop()
            for _, leaf in running.paths.values():
                if leaf is not None:
                    self._tree.remove(leaf, slot, held.counts, own=False)
        while held.leases:
            self._end(slot, held)

    def since(self, now: float) -> float:
        """From when on decisions matter."""
        return 0.0 if self._by_size else max(0.0, now - self._ttl_secs)

    @property
    def blocks(self) -> int:
        """Blocks held by all ranks."""
        return sum(held.blocks for held in self._held.values())

    @property
    def leases(self) -> int:
        """Decisions remembered."""
        return sum(len(held.leases) + len(held.running) for held in self._held.values())

    def _held_of(self, slot: int, capacity_blocks: int | None) -> _Held:
        held = self._held.setdefault(slot, _Held())
        held.capacity = (capacity_blocks or None) if self._by_size else None
        return held

    def _lease(self, slot: int, held: _Held, lease: _Lease) -> None:
        earlier = held.of_leaf.get(lease.leaf)
        if earlier is not None:
            self.bytes -= held.leases.pop(earlier).bytes
            self._tree.remove(lease.leaf, slot, held.counts, own=False)
        self._count += 1
        self._put(held, self._count, lease)
        if self.bytes > self.most_bytes:
            self._press()

    def _put(self, held: _Held, number: int, lease: _Lease) -> None:
        held.leases[number] = lease
        held.of_leaf[lease.leaf] = number
        self.bytes += lease.bytes

    def _end(self, slot: int, held: _Held) -> _Lease:
        _, lease = held.leases.popitem(last=False)
        del held.of_leaf[lease.leaf]
        self.bytes -= lease.bytes
        self._tree.remove(lease.leaf, slot, held.counts, own=False)
        return lease

    def _press(self) -> None:
        """Ends the oldest leases of all ranks."""
        while self.bytes > self.most_bytes * _KEPT_SHARE:
            _, slot = min((next(iter(held.leases)), slot) for slot, held in self._held.items() if held.leases)
            before = self._held[slot].blocks
            self._end(slot, self._held[slot])
            self.evicted_total += before - self._held[slot].blocks

    def _shrink(self, slot: int, held: _Held) -> None:
        capacity = held.capacity
        while capacity is not None and held.leases and held.blocks > capacity:
            before = held.blocks
            number = next(iter(held.leases))
            lease = self._end(slot, held)
            freed = before - held.blocks
            spare = capacity - held.blocks
            if spare > 0:
                # blocks that others hold as well come first, then as many of its own as there is room for
                kept = lease.hashes[: len(lease.hashes) - freed + spare]
                leaf = self._tree.add(kept, slot, held.counts, own=False)
                assert leaf is not None
                if leaf in held.of_leaf:
                    self._tree.remove(leaf, slot, held.counts, own=False)
                else:
                    self._put(held, number, _Lease(kept, leaf, lease.until))
                    held.leases.move_to_end(number, last=False)
            self.evicted_total += before - held.blocks
