"""The ranks of a pool and what is booked on them.

A rank is a pair of worker and `dp_rank`. Source of the accounting: Dynamo 1.6.1's active sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dynamo_fe._cext.active_blocks import ActiveBlocks, Segment
from dynamo_fe._cext.booked_load import BookedLoad
from dynamo_fe.routing.kv.approximate import Running
from dynamo_fe.routing.kv.load_table import OwnLoads

RankId = tuple[int, int]


class RankTraits(NamedTuple):
    """What a worker's card says of each of its ranks; None where it says nothing."""

    total_kv_blocks: int | None
    max_num_batched_tokens: int | None
    taints: frozenset[str]


class Rank:
    """One rank. `row` is that of the table in which sibling processes read its `load`, None where it has none;
    `kv_used_blocks` is the worker's own report, None before the first.
    """

    __slots__ = ("bookings", "key", "kv_used_blocks", "load", "row", "slot", "traits")

    def __init__(self, key: RankId, slot: int, traits: RankTraits, row: int | None, load: BookedLoad) -> None:
        self.key = key
        self.slot = slot
        self.traits = traits
        self.row = row
        self.load = load
        self.kv_used_blocks: int | None = None
        self.bookings: set[Booking] = set()

    @property
    def active_blocks(self) -> int:
        """Blocks of all requests known here, rounded to nearest, halves up."""
        return self.load.active_blocks

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens in work here, of all requests known."""
        return self.load.prefill_tokens


class Booking:
    """One request on one rank, from its choice to its end. All of it may be called twice and after the end.

    `private_blocks` are those that nobody can share. `own`: of this process, not of another frontend. `running` is what
    an index without events is told of it.
    """

    __slots__ = ("_loads", "_rank", "leaf", "outputs", "own", "prefill_tokens", "private_blocks", "running",
                 "touched_at", "weight")  # fmt: skip

    def __init__(
        self, loads: RankLoads, rank: Rank, leaf: Segment | None, private_blocks: int, prefill_tokens: int, own: bool
    ) -> None:
        self._loads = loads
        self._rank: Rank | None = rank
        self.leaf = leaf
        self.private_blocks = private_blocks
        self.prefill_tokens = prefill_tokens
        self.own = own
        self.running: Running | None = None
        self.outputs = 0
        self.weight = 1.0
        self.touched_at = 0.0

    @property
    def rank(self) -> Rank | None:
        """Where it is; None after its end."""
        return self._rank

    def prefill_done(self) -> None:
        """Its first output has come: no prompt tokens are left to compute."""
        rank = self._rank
        if rank is not None and self.prefill_tokens:
            rank.load.prefill_done(self.prefill_tokens, self.own)
            self.prefill_tokens = 0

    def output_block(self, weight: float | None) -> None:
        """It has filled the next block; `weight` is what its own blocks count for from now on, None to leave that."""
        rank = self._rank
        if rank is None:
            return
        self.outputs += 1
        extra = self.weight
        if weight is not None:
            extra += (self.outputs + self.private_blocks) * (weight - self.weight)
            self.weight = weight
            if self.leaf is not None:
                self._loads.tree.weigh(self.leaf, rank.slot, rank.load, weight)
        rank.load.grow(extra, self.own)

    def free(self) -> None:
        """It has ended, in whatever way."""
        rank, self._rank = self._rank, None
        if rank is not None:
            self._loads.release(self, rank)
            if self.running is not None:
                self.running.end()


class RankLoads:
    """All ranks of a pool by slot, with their bookings. `shown` is where sibling processes read this one's part."""

    def __init__(self, shown: OwnLoads | None = None) -> None:
        self.tree = ActiveBlocks()
        self._shown = shown
        self._ranks: dict[RankId, Rank] = {}
        self._by_slot: list[Rank | None] = []

    def __iter__(self) -> Iterator[Rank]:
        return iter(self._ranks.values())

    def __len__(self) -> int:
        """How many slots there are, free ones included."""
        return len(self._by_slot)

    def get(self, worker_id: int, dp_rank: int) -> Rank | None:
        """The rank, None when the pool has it not."""
        return self._ranks.get((worker_id, dp_rank))

    def at(self, slot: int) -> Rank | None:
        """The rank of a slot."""
        return self._by_slot[slot]

    def slot_of(self, worker_id: int, dp_rank: int) -> int | None:
        """The slot of a rank."""
        rank = self._ranks.get((worker_id, dp_rank))
        return None if rank is None else rank.slot

    def settle(self, wanted: dict[RankId, RankTraits]) -> tuple[list[RankId], list[RankId]]:
        """Makes these the ranks; returns those that came and those that went, whose bookings are gone with them."""
        gone = [key for key in self._ranks if key not in wanted]
        for key in gone:
            self._drop(self._ranks.pop(key))
        come = [key for key in wanted if key not in self._ranks]
        for key in come:
            self._ranks[key] = self._make(key, wanted[key])
        for key, traits in wanted.items():
            self._ranks[key].traits = traits
        return come, gone

    def book(self, rank: Rank, hashes: Sequence[int], blocks: int, prefill_tokens: int, *, own: bool = True) -> Booking:
        """A request goes to a rank. `hashes` are the sequence hashes of what others may share, none where reuse is not
        assumed; `blocks` counts all its complete blocks.
        """
        load = rank.load
        leaf = self.tree.add(hashes, rank.slot, load, own) if len(hashes) else None
        private = blocks - len(hashes)
        booking = Booking(self, rank, leaf, private, prefill_tokens, own)
        rank.bookings.add(booking)
        load.book(private, prefill_tokens, own)
        return booking

    def release(self, booking: Booking, rank: Rank) -> None:
        """Undoes a booking; called by it, once."""
        rank.bookings.discard(booking)
        if booking.leaf is not None:
            self.tree.remove(booking.leaf, rank.slot, rank.load, booking.own)
        private = (booking.outputs + booking.private_blocks) * booking.weight
        rank.load.release(private, booking.prefill_tokens, booking.own)

    def expire(self, before: float) -> int:
        """Frees other frontends' bookings of which nothing was heard since `before`; returns how many."""
        stale = [
            booking
            for rank in self._ranks.values()
            for booking in rank.bookings
            if not booking.own and booking.touched_at < before
        ]
        for booking in stale:
            booking.free()
        return len(stale)

    def close(self) -> None:
        """Gives everything back."""
        self.settle({})

    def _make(self, key: RankId, traits: RankTraits) -> Rank:
        try:
            slot = self._by_slot.index(None)
        except ValueError:
            slot = len(self._by_slot)
            self._by_slot.append(None)
        row = self._shown.take(*key) if self._shown is not None else None
        load = BookedLoad(None if row is None or self._shown is None else self._shown.words(row))
        rank = self._by_slot[slot] = Rank(key, slot, traits, row, load)
        return rank

    def _drop(self, rank: Rank) -> None:
        for booking in list(rank.bookings):
            booking.free()
        self._by_slot[rank.slot] = None
        if self._shown is not None and rank.row is not None:
            self._shown.give_back(rank.row)
