"""What is booked on ranks, against the figures of the original and against a plain statement of the rules."""

import json
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo_fe.routing.kv.load_table import LoadTable, OwnLoads, SiblingLoads
from dynamo_fe.routing.kv.ranks import Booking, RankLoads, RankTraits

FIXTURE = Path(__file__).parent.parent / "fixtures" / "kv" / "load_queue_sampling.json"
TRAITS = RankTraits(None, None, frozenset())
BLOCK = 4
PROMPTS = {"A": [100, 101, 102, 103], "B": [100, 101, 200, 201], "A+2": [100, 101, 102, 103]}


def one_rank(key: tuple[int, int] = (1, 0)) -> RankLoads:
    loads = RankLoads()
    loads.settle({key: TRAITS})
    return loads


class Replay:
    """Runs the steps of the fixture."""

    def __init__(self) -> None:
        self.loads = one_rank()
        self.bookings: dict[str, Booking] = {}
        self.cached = False

    def run(self, step: str) -> list[int]:
        verb, *words = step.replace(",", "").split()
        if verb == "reserve":
            self.reserve(words)
        elif verb == "output_block":
            self.bookings[words[0]].output_block(float(words[2]) if len(words) > 1 else None)
        elif verb == "free":
            for name in words:
                self.bookings[name].free()
        else:
            assert step == "worker stores A on device"
            self.cached = True
        rank = self.loads.get(1, 0)
        assert rank is not None
        return [rank.active_blocks, rank.prefill_tokens, len(rank.bookings)]

    def reserve(self, words: list[str]) -> None:
        name, prompt, *rest = words
        hashes = PROMPTS.get(prompt, [])
        tokens = {"tokens": 2, "A+2": 18}.get(prompt, 16) - (16 if self.cached else 0)
        if "track_prefill_tokens=false" in rest:
            tokens = 0
        rank = self.loads.get(1, 0)
        assert rank is not None
        shared = [] if "assume_kv_reuse=false" in rest else hashes
        self.bookings[name] = self.loads.book(rank, shared, len(hashes), tokens)


def test_the_load_of_a_rank_is_the_originals_at_every_step() -> None:
    replay = Replay()
    for step, expected in json.loads(FIXTURE.read_text())["load_tracking"]["steps"]:
        found = replay.run(step)
        assert expected is None or found == expected, step


def test_every_call_may_come_twice_and_after_the_end() -> None:
    loads = one_rank()
    rank = loads.get(1, 0)
    assert rank is not None
    booking = loads.book(rank, [1, 2], 2, 8)
    for _ in range(2):
        booking.prefill_done()
    assert (rank.active_blocks, rank.prefill_tokens) == (2, 0)
    for _ in range(2):
        booking.free()
        booking.prefill_done()
        booking.output_block(0.5)
    assert (rank.active_blocks, rank.prefill_tokens, len(rank.bookings)) == (0, 0, 0)


def test_a_rank_that_goes_takes_its_bookings_along() -> None:
    loads = one_rank()
    rank = loads.get(1, 0)
    assert rank is not None
    booking = loads.book(rank, [1, 2], 2, 8)
    loads.settle({(2, 0): TRAITS})
    assert booking.rank is None
    booking.free()
    assert loads.tree.empty
    again = loads.get(2, 0)
    assert again is not None
    assert (again.slot, again.active_blocks) == (rank.slot, 0)


@settings(max_examples=200)
@given(st.data())
def test_blocks_are_the_distinct_ones_whatever_comes_and_goes(data: st.DataObject) -> None:
    """Against sets of prefixes: the tree is nothing but a quick way to count them."""
    loads = RankLoads()
    loads.settle({(1, 0): TRAITS, (1, 1): TRAITS})
    live: list[tuple[Booking, int, tuple[int, ...]]] = []
    for _ in range(data.draw(st.integers(1, 40))):
        if live and data.draw(st.booleans()):
            booking, _, _ = live.pop(data.draw(st.integers(0, len(live) - 1)))
            booking.free()
        else:
            blocks = data.draw(st.lists(st.integers(0, 2), max_size=6))
            dp_rank = data.draw(st.integers(0, 1))
            rank = loads.get(1, dp_rank)
            assert rank is not None
            path = tuple(hash(tuple(blocks[: end + 1])) & (2**64 - 1) for end in range(len(blocks)))
            live.append((loads.book(rank, path, len(path), 0), dp_rank, path))
        wanted = tuple(hash((0,) * (end + 1)) & (2**64 - 1) for end in range(4))
        shared = loads.tree.shared(wanted)
        for dp_rank in (0, 1):
            held = {block for _, where, path in live if where == dp_rank for block in path}
            rank = loads.get(1, dp_rank)
            assert rank is not None
            assert rank.active_blocks == len(held)
            assert shared.get(rank.slot, 0) == next((at for at, block in enumerate(wanted) if block not in held), 4)
    for booking, _, _ in live:
        booking.free()
    assert loads.tree.empty


def test_after_a_storm_everything_reads_zero() -> None:
    table = LoadTable(2, 8)
    loads = RankLoads(OwnLoads(table, 0, 7))
    loads.settle({(worker, 0): TRAITS for worker in range(1, 5)})
    draw = random.Random(5)
    live = []
    for _ in range(3000):
        rank = draw.choice(list(loads))
        prompt = [draw.randrange(3) for _ in range(draw.randrange(8))]
        path = [hash(tuple(prompt[: end + 1])) & (2**64 - 1) for end in range(len(prompt))]
        reuse = draw.random() < 0.8
        live.append(loads.book(rank, path if reuse else [], len(path), draw.randrange(100), own=draw.random() < 0.7))
        booking = draw.choice(live)
        draw.choice([booking.prefill_done, booking.free, lambda each=booking: each.output_block(draw.random())])()
    for booking in live:
        booking.free()
    assert [(rank.active_blocks, rank.prefill_tokens, len(rank.bookings)) for rank in loads] == [(0, 0, 0)] * 4
    assert loads.tree.empty
    reader = SiblingLoads(table, 1, lambda worker, rank: worker)
    assert list(reader.loads()) == []


def test_processes_see_each_others_load_and_not_that_of_a_killed_one() -> None:
    table = LoadTable(3, 4)
    writers = [RankLoads(OwnLoads(table, index, 100 + index)) for index in (0, 1)]
    for loads in writers:
        loads.settle({(9, 0): TRAITS, (2**64 - 1, 3): TRAITS})
        rank = loads.get(2**64 - 1, 3)
        assert rank is not None
        loads.book(rank, [1, 2], 3, 40)
    reader = SiblingLoads(table, 2, writers[0].slot_of)
    slot = writers[0].slot_of(2**64 - 1, 3)
    assert list(reader.loads()) == [(slot, (40, 3.0, 1))] * 2
    assert reader.is_sibling(101)
    table.clear(1)
    assert list(reader.loads()) == [(slot, (40, 3.0, 1))]
    assert not reader.is_sibling(101)
    writers[0].settle({(9, 0): TRAITS})
    assert list(reader.loads()) == []


def test_other_frontends_bookings_are_not_shown_as_ones_own() -> None:
    table = LoadTable(2, 4)
    loads = RankLoads(OwnLoads(table, 0, 1))
    loads.settle({(1, 0): TRAITS})
    rank = loads.get(1, 0)
    assert rank is not None
    theirs = loads.book(rank, [1, 2], 2, 8, own=False)
    reader = SiblingLoads(table, 1, loads.slot_of)
    assert list(reader.loads()) == []
    ours = loads.book(rank, [1, 2, 3], 3, 12)
    assert rank.active_blocks == 3
    assert list(reader.loads()) == [(0, (12, 3.0, 1))]
    theirs.free()
    assert list(reader.loads()) == [(0, (12, 3.0, 1))]
    ours.free()
    assert list(reader.loads()) == []


def test_bookings_of_silent_frontends_expire_and_ones_own_do_not() -> None:
    loads = one_rank()
    rank = loads.get(1, 0)
    assert rank is not None
    loads.book(rank, [1], 1, 4)
    theirs = loads.book(rank, [2], 1, 4, own=False)
    theirs.touched_at = 10.0
    assert loads.expire(before=10.0) == 0
    assert loads.expire(before=10.5) == 1
    assert (rank.active_blocks, rank.prefill_tokens) == (1, 4)


def test_a_table_that_is_full_only_hides_load() -> None:
    table = LoadTable(2, 1)
    loads = RankLoads(OwnLoads(table, 0, 1))
    loads.settle({(1, 0): TRAITS, (2, 0): TRAITS})
    for worker in (1, 2):
        rank = loads.get(worker, 0)
        assert rank is not None
        loads.book(rank, [1], 1, 4)
    reader = SiblingLoads(table, 1, loads.slot_of)
    assert len(list(reader.loads())) == 1
