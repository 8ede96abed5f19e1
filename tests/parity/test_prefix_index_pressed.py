"""The prefix index where memory is short: what goes, what stays, and that nothing is ever said that is not so."""

from __future__ import annotations

import mmap
import random
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo_fe._cext.prefix_index import Overlaps, Reader, Writer, region_bytes
from tests.reference import prefix_index as reference

CHAIN = 10


def new_index(blocks: int, max_ranks: int) -> Writer:
    return Writer(mmap.mmap(-1, region_bytes(blocks, max_ranks)), max_ranks)


def chain(number: int, length: int = CHAIN) -> list[int]:
    """The local hashes of a chain that has nothing in common with another; its ids are the same numbers."""
    return [number * 1000 + place + 1 for place in range(length)]


def depths(index: Reader, query: list[int], overlaps: Overlaps) -> dict[int, int]:
    """Device depth by worker."""
    index.find(query, overlaps)
    workers = {slot: worker for slot, worker, _ in index.ranks()}
    return {workers[slot]: device for slot, device, _, _ in overlaps.ranks()}


def test_the_leaves_stored_least_recently_go_first() -> None:
    index, overlaps = new_index(100, 4), Overlaps(4)
    room = index.stats()["max_nodes"]
    for number in range(12):
        assert index.stored(1, 0, None, chain(number), chain(number)) == "ok"
        index.stored(1, 0, None, chain(0), chain(0))
    held = [depths(index, chain(number), overlaps).get(1, 0) for number in range(12)]
    assert index.stats()["evicted_blocks"] == 12 * CHAIN - room
    assert index.stats()["nodes"] == room == index.stats()["blocks"]
    # The first was stored again all the time; of the others the oldest have lost their ends, the youngest nothing.
    assert held[0] == CHAIN
    assert sum(held) == room
    assert held[1:] == sorted(held[1:])
    assert len({depth for depth in held if 0 < depth < CHAIN}) <= 1


def test_what_others_continue_stays() -> None:
    index, overlaps = new_index(100, 4), Overlaps(4)
    index.stored(1, 0, None, [1, 2], [1, 2])
    for number in range(1, 40):
        assert index.stored(1, 0, 2, chain(number), chain(number)) == "ok"
        assert depths(index, [1, 2, *chain(number)], overlaps) == {1: 2 + CHAIN}
    assert index.stats()["evicted_blocks"] > 0


def test_one_chain_longer_than_the_memory() -> None:
    index, overlaps = new_index(64, 4), Overlaps(4)
    room = index.stats()["max_nodes"]
    assert index.stored(1, 0, None, chain(0, 90), chain(0, 90)) == "capacity_exhausted"
    assert depths(index, chain(0, 90), overlaps) == {1: room}
    assert index.events()["stored", "capacity_exhausted"] == 1


def test_more_ranks_than_slots() -> None:
    index = new_index(64, 3)
    for worker in range(3):
        assert index.stored(worker, 0, None, [1], [1]) == "ok"
    assert index.stored(3, 0, None, [1], [1]) == "capacity_exhausted"
    index.remove_worker(1)
    assert index.stored(3, 0, None, [1], [1]) == "ok"


def test_a_thousand_ranks_that_come_and_go_leave_nothing() -> None:
    index, overlaps = new_index(200, 1024), Overlaps(1024)
    for worker in range(5000):
        index.stored(worker, 0, None, chain(worker % 3), chain(worker % 3))
        if worker >= 1024:
            index.remove_worker(worker - 1024)
            index.stored(worker, 0, None, chain(worker % 3), chain(worker % 3))
    assert len(depths(index, chain(0), overlaps)) > 300
    for worker in range(5000):
        index.remove_worker(worker)
    assert depths(index, chain(0), overlaps) == {}
    index.sweep()
    assert index.stats()["nodes"] == index.stats()["blocks"] == 0


def test_owners_of_shared_blocks_take_room_from_the_blocks() -> None:
    index, overlaps = new_index(64, 1024), Overlaps(1024)
    statuses = {index.stored(worker, 0, None, chain(0, 40), chain(0, 40)) for worker in range(300)}
    held = depths(index, chain(0, 40), overlaps)
    assert statuses == {"ok", "capacity_exhausted"}
    assert len(held) == 300
    assert index.stats()["blocks"] == sum(held.values())
    for worker in range(300):
        assert index.removed(worker, 0, chain(0, held[worker])[::-1]) == "ok"
    assert depths(index, chain(0, 40), overlaps) == {}
    assert index.stats()["nodes"] == index.stats()["blocks"] == 0


LOCALS = st.lists(st.integers(0, 2), max_size=8)
WORKER = st.integers(1, 40)
STORE = st.tuples(st.just("stored"), WORKER, st.sampled_from([0, 0, 1, 2]), st.integers(-5, 40), LOCALS)
REMOVE = st.tuples(st.just("removed"), WORKER, st.sampled_from([0, 0, 1, 2]), st.integers(0, 40))
CLEAR = st.tuples(st.just("cleared"), WORKER)


@settings(max_examples=100)
@given(st.lists(st.one_of(STORE, STORE, STORE, REMOVE, CLEAR), max_size=300), st.randoms(use_true_random=False))
def test_no_more_is_ever_said_than_is_so(history: list[tuple[Any, ...]], rnd: random.Random) -> None:
    """64 blocks, few pages for owners, 40 workers: what is found is at most what an index without bounds finds."""
    play(history, rnd)


@pytest.mark.parametrize("seed", range(6))
def test_no_more_is_said_than_is_so_in_a_long_history(seed: int) -> None:
    rnd = random.Random(seed)
    history: list[tuple[Any, ...]] = []
    for _ in range(3000):
        worker, tier = rnd.randint(1, 40), rnd.choice([0, 0, 0, 1, 2])
        kind = rnd.choices(["stored", "removed", "cleared"], [80, 30, 1])[0]
        if kind == "stored":
            locals_ = [rnd.randrange(3) for _ in range(rnd.randrange(8))]
            history.append((kind, worker, tier, rnd.randint(-20, 40), locals_))
        elif kind == "removed":
            history.append((kind, worker, tier, rnd.randint(0, 40)))
        else:
            history.append((kind, worker))
    index = play(history, rnd)
    assert index.stats()["evicted_blocks"] > 100


def play(history: list[tuple[Any, ...]], rnd: random.Random) -> Writer:
    index, overlaps, everything = new_index(64, 300), Overlaps(300), reference.Index(300)
    known: list[int] = []
    for kind, worker, *arguments in history:
        if kind == "stored":
            tier, place, locals_ = arguments
            parent = before = known[-1 - place % len(known)] if place >= 0 and known else None
            ids = []
            for local in locals_:
                before = hash((before or 0, local)) % 2**64
                ids.append(before)
            known += ids
            if index.stored(worker, 0, parent, ids, locals_, tier) != "parent_block_not_found":
                everything.stored(worker, 0, parent, list(zip(ids, locals_, strict=True)), tier)
        elif kind == "removed" and known:
            block = known[-1 - arguments[1] % len(known)]
            index.removed(worker, 0, [block], arguments[0])
            everything.removed(worker, 0, [block], arguments[0])
        elif kind == "cleared":
            index.cleared(worker, 0)
            everything.cleared(worker, 0)
        query = [rnd.randrange(3) for _ in range(8)]
        index.find(array("Q", query), overlaps)
        workers = {slot: worker for slot, worker, _ in index.ranks()}
        bound = {worker: sum(found) for (worker, _), found in everything.find(query).items()}
        assert all(device + host + disk <= bound[workers[slot]] for slot, device, host, disk in overlaps.ranks())
        assert index.stats()["nodes"] <= index.stats()["max_nodes"]
    for worker in range(301):
        index.remove_worker(worker)
    index.sweep()
    assert index.stats()["nodes"] == 0
    return index
