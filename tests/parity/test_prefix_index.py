"""The compiled prefix index answers every event and every query as its plain-Python statement does."""

from __future__ import annotations

import mmap
import random
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo_fe._cext.prefix_index import TIERS, Overlaps, Reader, Writer, region_bytes
from tests.reference import prefix_index as reference

MAX_RANKS = 24
BLOCKS = 4000

# Few local hashes, so that paths meet; ids that are a function of the path, as engines make them, or arbitrary.
LOCAL = st.integers(0, 2)
WORKER = st.integers(1, 4)
DP_RANK = st.integers(0, 1)
TIER = st.sampled_from([0, 0, 0, 1, 2, 3])
LOCALS = st.lists(LOCAL, max_size=6)
STORE = st.tuples(st.just("stored"), WORKER, DP_RANK, TIER, st.integers(-1, 30), LOCALS, st.integers(0, 2**16))
REMOVE = st.tuples(st.just("removed"), WORKER, DP_RANK, TIER, st.lists(st.integers(0, 30), max_size=4))
CLEAR = st.tuples(st.just("cleared"), WORKER, DP_RANK)
LEAVE = st.tuples(st.just("remove_worker"), WORKER)
FIND = st.tuples(st.just("find"), st.lists(LOCAL, max_size=12))
HISTORY = st.lists(st.one_of(STORE, STORE, STORE, REMOVE, REMOVE, FIND, FIND, CLEAR, LEAVE), max_size=120)


def new_index(blocks: int = BLOCKS, max_ranks: int = MAX_RANKS) -> Writer:
    return Writer(mmap.mmap(-1, region_bytes(blocks, max_ranks)), max_ranks)


class Pair:
    """Both indexes, given the same events."""

    def __init__(self, honest_ids: bool) -> None:
        self.honest_ids = honest_ids
        self.ours = new_index()
        self.reader = self.ours
        self.theirs = reference.Index(MAX_RANKS)
        self.overlaps = Overlaps(MAX_RANKS)
        # Ids that were stored, the latest last; an operation names one by its place from the end.
        self.known: list[int] = []

    def at(self, place: int) -> int | None:
        return self.known[-1 - place % len(self.known)] if place >= 0 and self.known else None

    def apply(self, operation: tuple[Any, ...]) -> None:
        kind, *arguments = operation
        getattr(self, kind)(*arguments)

    def stored(self, worker: int, dp_rank: int, tier: int, parent_at: int, locals_: list[int], salt: int) -> None:
        parent = before = self.at(parent_at)
        ids = []
        for number, local in enumerate(locals_):
            before = hash((before or 0, local)) % 2**64 if self.honest_ids else (salt + number * number) % 40
            ids.append(before)
        self.known += ids
        ours = self.ours.stored(worker, dp_rank, parent, array("Q", ids), array("Q", locals_), tier)
        assert ours == self.theirs.stored(worker, dp_rank, parent, list(zip(ids, locals_, strict=True)), tier)

    def removed(self, worker: int, dp_rank: int, tier: int, places: list[int]) -> None:
        ids = [block for place in places if (block := self.at(place)) is not None]
        ours = self.ours.removed(worker, dp_rank, array("Q", ids), tier)
        assert ours == self.theirs.removed(worker, dp_rank, ids, tier)

    def cleared(self, worker: int, dp_rank: int) -> None:
        assert self.ours.cleared(worker, dp_rank) == self.theirs.cleared(worker, dp_rank)

    def remove_worker(self, worker: int) -> None:
        assert self.ours.remove_worker(worker) == self.theirs.remove_worker(worker)

    def find(self, query: list[int]) -> None:
        assert found(self.ours, query, self.overlaps) == self.theirs.find(query)


def found(index: Reader, query: Sequence[int], overlaps: Overlaps) -> dict[tuple[int, int], tuple[int, int, int]]:
    """Depths by (worker, rank)."""
    count = index.find(array("Q", query), overlaps)
    ranks = {slot: (worker, dp_rank) for slot, worker, dp_rank in index.ranks()}
    depths = {ranks[slot]: (device, host, disk) for slot, device, host, disk in overlaps.ranks()}
    assert count == len(depths)
    return depths


@settings(max_examples=400)
@given(st.booleans(), HISTORY)
def test_every_history_gives_the_same_answers(honest_ids: bool, history: list[tuple[Any, ...]]) -> None:
    pair = Pair(honest_ids)
    for operation in history:
        pair.apply(operation)
    assert pair.ours.stats()["blocks"] == sum(len(set(rank.paths.values())) for rank in pair.theirs.ranks.values())
    for worker in range(1, 5):
        pair.remove_worker(worker)
    pair.ours.sweep()
    assert pair.ours.stats()["nodes"] == 0


@pytest.mark.parametrize("seed", range(8))
def test_a_long_history_gives_the_same_answers(seed: int) -> None:
    rnd = random.Random(seed)
    pair = Pair(honest_ids=seed % 2 == 0)
    for _ in range(3000):
        rank = (rnd.randint(1, 4), rnd.randint(0, 1))
        tier = rnd.choice([0, 0, 0, 1, 2, 3])
        locals_ = [rnd.randrange(3) for _ in range(rnd.randrange(10))]
        kind = rnd.choices(["stored", "removed", "find", "cleared", "remove_worker"], [40, 30, 30, 1, 1])[0]
        if kind == "stored":
            pair.stored(*rank, tier, rnd.randint(-20, 30), locals_, rnd.randrange(2**16))
        elif kind == "removed":
            pair.removed(*rank, tier, [rnd.randrange(30) for _ in range(rnd.randrange(5))])
        elif kind == "find":
            pair.find(locals_)
        else:
            pair.apply((kind, *rank[: 2 if kind == "cleared" else 1]))
    assert pair.ours.events()["removed", "ok"] > 100


@settings(max_examples=150)
@given(HISTORY, st.lists(st.lists(LOCAL, max_size=12), min_size=5, max_size=20))
def test_a_dump_makes_an_index_that_answers_alike(history: list[tuple[Any, ...]], queries: list[list[int]]) -> None:
    pair = Pair(honest_ids=True)
    for operation in history:
        pair.apply(operation)
    again = new_index()
    for worker, dp_rank, tier, parent, ids, locals_ in pair.ours.dump():
        assert again.stored(worker, dp_rank, parent, ids, locals_, tier) == "ok"
    for query in queries:
        assert found(again, query, pair.overlaps) == found(pair.ours, query, pair.overlaps)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 300), LOCALS, st.booleans()), max_size=400))
def test_blocks_with_hundreds_of_owners(stores: list[tuple[int, list[int], bool]]) -> None:
    ours, theirs, overlaps = new_index(max_ranks=300), reference.Index(300), Overlaps(300)
    for worker, locals_, keep in stores:
        ids = [hash(tuple(locals_[: end + 1])) % 2**64 for end in range(len(locals_))]
        theirs.stored(worker, 0, None, list(zip(ids, locals_, strict=True)))
        ours.stored(worker, 0, None, ids, locals_)
        if not keep:
            assert ours.removed(worker, 0, ids[-1:]) == theirs.removed(worker, 0, ids[-1:])
        assert found(ours, locals_, overlaps) == theirs.find(locals_)


def test_tiers_are_numbered_alike() -> None:
    assert TIERS == reference.TIERS


NUMBER = st.one_of(st.integers(-2, 2**64 + 1), st.none(), st.text(max_size=2))
HASHES = st.one_of(
    st.lists(st.integers(-1, 2**64), max_size=5),
    st.lists(st.integers(0, 2**64 - 1), max_size=5).map(lambda numbers: array("Q", numbers)),
    st.binary(max_size=20),
    st.none(),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, HASHES, HASHES, st.integers(-2, 5)), max_size=20))
def test_whatever_is_handed_in_it_is_applied_or_refused(calls: list[tuple[Any, ...]]) -> None:
    index, overlaps = new_index(), Overlaps(MAX_RANKS)
    for worker, dp_rank, parent, ids, locals_, tier in calls:
        for call in (
            lambda: index.stored(worker, dp_rank, parent, ids, locals_, tier),  # noqa: B023
            lambda: index.removed(worker, dp_rank, ids, tier),  # noqa: B023
            lambda: index.cleared(worker, dp_rank),  # noqa: B023
            lambda: index.find(locals_, overlaps),  # noqa: B023
        ):
            try:
                call()
            except (TypeError, ValueError, OverflowError):
                pass
    assert index.stats()["nodes"] <= index.stats()["max_nodes"]


@pytest.mark.parametrize("max_ranks", [0, 32769])
def test_a_senseless_number_of_ranks_is_refused(max_ranks: int) -> None:
    with pytest.raises(ValueError, match="max_ranks"):
        Writer(mmap.mmap(-1, 1 << 20), max_ranks)
