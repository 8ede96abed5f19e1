"""What decisions alone tell of a rank's cache."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo_fe.routing.kv.approximate import ApproximateIndex, Running


def path(*blocks: int) -> array[int]:
    return array("Q", [hash(blocks[: end + 1]) & (2**64 - 1) for end in range(len(blocks))])


def begin(index: ApproximateIndex, blocks: array[int], capacity: int, partial: int = 0) -> Running:
    running = index.begin(0, blocks, partial, capacity, 0.0)
    assert running is not None
    return running


def test_a_block_lives_from_the_last_decision_that_touched_it() -> None:
    index = ApproximateIndex(3.0)
    index.note(0, path(1, 2, 3), None, 0.0)
    index.note(0, path(1, 2), None, 2.0)
    assert index.depths(path(1, 2, 3, 4), 2.9) == {0: 3}
    assert index.depths(path(1, 2, 3, 4), 3.0) == {0: 2}
    assert index.depths(path(1, 2, 3, 4), 5.0) == {}
    assert (index.blocks, index.leases) == (0, 0)


def test_ranks_are_told_apart_and_forgotten() -> None:
    index = ApproximateIndex(3.0)
    index.note(0, path(1, 2), None, 0.0)
    index.note(1, path(1), None, 0.0)
    assert index.depths(path(1, 2), 1.0) == {0: 2, 1: 1}
    index.forget(0)
    index.forget(7)
    assert index.depths(path(1, 2), 1.0) == {1: 1}


def test_by_size_the_least_recently_used_gives_way_from_its_last_block_on() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    index.note(0, path(1, 2, 3), 5, 0.0)
    index.note(0, path(9), 5, 1.0)
    index.note(0, path(8, 7), 5, 1000.0)
    assert index.blocks == 5
    assert index.depths(path(1, 2, 3), 1000.0) == {0: 2}
    assert index.depths(path(9), 1000.0) == {0: 1}
    index.note(0, path(1, 2), 5, 1001.0)
    index.note(0, path(6), 5, 1002.0)
    assert index.depths(path(9), 1002.0) == {}
    assert index.depths(path(1, 2), 1002.0) == {0: 2}
    assert index.evicted_total == 2


def test_a_rank_of_unknown_size_goes_by_time() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    index.note(0, path(1, 2), None, 0.0)
    assert index.depths(path(1, 2), 3.5) == {}


def test_a_prompt_larger_than_the_rank_is_held_in_part() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    index.note(0, path(1, 2, 3, 4), 3, 0.0)
    assert index.depths(path(1, 2, 3, 4), 0.0) == {0: 3}
    index.note(0, path(), 3, 0.0)
    assert index.leases == 1


@settings(max_examples=100)
@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 3)), max_size=30))
def test_by_time_it_is_a_clock_for_every_block(decisions: list[tuple[list[int], int]]) -> None:
    index = ApproximateIndex(2.0)
    until: dict[int, float] = {}
    now = 0.0
    for blocks, wait in decisions:
        now += wait
        hashes = path(*blocks)
        alive = [block for block in hashes if until.get(block, -1.0) > now]
        assert index.depths(hashes, now) == ({0: len(alive)} if alive else {})
        index.note(0, hashes, None, now)
        until |= dict.fromkeys(hashes, now + 2.0)
    assert index.blocks == sum(end > now for end in until.values())


def test_by_size_what_runs_stays_and_goes_from_its_end_on() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    first = begin(index, path(1, 2, 3), 4)
    second = begin(index, path(9, 8), 4)
    assert index.depths(path(1, 2, 3), 0.0) == {0: 3}
    assert index.depths(path(9, 8), 0.0) == {0: 2}
    assert index.blocks == 5
    second.end()
    assert index.depths(path(9, 8), 0.0) == {0: 1}
    third = begin(index, path(7), 4)
    assert index.depths(path(9, 8), 0.0) == {}
    for each in (first, first, third):
        each.end()
    index.note(0, path(6), 4, 0.0)
    assert index.depths(path(1, 2, 3), 0.0) == {0: 2}
    assert (index.blocks, index.evicted_total) == (4, 3)


def test_by_size_generated_blocks_are_held_and_found() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    left: list[array[int]] = []
    index.on_end = lambda slot, hashes: left.append(hashes)
    index.note(0, path(5, 6), 6, 0.0)
    running = begin(index, path(1, 2), 6, partial=1)
    assert index.blocks == 5
    running.grow(0, path(1, 2, 3), 0)
    running.grow(1, path(1, 2, 4), 2)
    assert index.blocks == 6
    assert index.depths(path(5, 6), 0.0) == {}
    assert index.depths(path(1, 2, 3), 0.0) == index.depths(path(1, 2, 4), 0.0) == {0: 3}
    running.end()
    running.grow(0, path(1, 2, 3, 7), 1)
    assert left == [path(1, 2, 3), path(1, 2, 4)]
    assert (index.blocks, index.leases) == (4, 2)


def test_by_size_a_rank_that_goes_takes_what_runs_there_along() -> None:
    index = ApproximateIndex(3.0, by_size=True)
    running = begin(index, path(1, 2), 6, partial=1)
    begin(index, path(1), 6).end()
    index.forget(0)
    running.grow(0, path(1, 2, 3), 0)
    running.end()
    assert (index.blocks, index.leases) == (0, 0)
    assert index.depths(path(1, 2, 3), 0.0) == {}


def test_equal_prompts_take_one_lease_and_the_latest_counts() -> None:
    for index, capacity in ((ApproximateIndex(3.0), None), (ApproximateIndex(3.0, by_size=True), 3)):
        for now in (0.0, 1.0, 2.0):
            index.note(0, path(1, 2), capacity, now)
            index.note(0, path(1), capacity, now)
        assert (index.leases, index.blocks) == (2, 2)
    index.note(0, path(8, 9), 3, 2.0)
    assert index.depths(path(1, 2), 2.0) == {0: 1}


def test_all_leases_together_stay_within_the_budget() -> None:
    index = ApproximateIndex(1000.0)
    index.most_bytes = 20_000
    for at in range(200):
        index.note(at % 3, path(at, *range(50)), None, float(at))
        assert index.bytes <= index.most_bytes
        assert index.depths(path(at, *range(50)), float(at)) == {at % 3: 51}
    assert index.leases < 20
    assert index.evicted_total == 51 * (200 - index.leases)
    for slot in range(3):
        index.forget(slot)
    assert (index.bytes, index.blocks) == (0, 0)


def test_by_time_nothing_is_told_of_what_runs() -> None:
    assert ApproximateIndex(3.0).begin(0, path(1, 2), 1, 100, 0.0) is None
    unknown = ApproximateIndex(3.0, by_size=True)
    assert unknown.begin(0, path(1, 2), 1, None, 0.0) is None
    assert unknown.depths(path(1, 2), 2.9) == {0: 2}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "grow", "end", "note"]), st.integers(0, 9), st.lists(st.integers(0, 2), max_size=5)
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(STEPS, st.integers(1, 9))
def test_by_size_it_is_a_cache_of_blocks_that_pins_what_runs(
    steps: list[tuple[str, int, list[int]]], capacity: int
) -> None:
    index, plain = ApproximateIndex(1.0, by_size=True), Plain(capacity)
    running: dict[int, tuple[Running, list[int]]] = {}
    for number, (verb, which, blocks) in enumerate(steps):
        if verb == "begin":
            running[number] = begin(index, path(*blocks), capacity), blocks
            plain.hold(number, blocks)
        elif verb == "note":
            index.note(0, path(*blocks), capacity, 0.0)
            plain.touch(blocks[:capacity])
        elif running:
            chosen = sorted(running)[which % len(running)]
            request, held = running.pop(chosen)
            if verb == "grow":
                running[chosen] = request, held + blocks
                request.grow(0, path(*held, *blocks), 0)
                plain.hold(chosen, held + blocks)
            else:
                request.end()
                plain.end(chosen)
        assert index.blocks == len(plain.known())
        for _, held in running.values():
            assert index.depths(path(*held), 0.0).get(0, 0) == len(held)
        for known in plain.known():
            assert index.depths(path(*known), 0.0) == {0: len(known)}


class Plain:
    """The same by block: when each was let go last, and by how many requests it is held."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running: dict[int, list[int]] = {}
        self.let_go: dict[tuple[int, ...], int] = {}
        self.moment = 0

    def known(self) -> set[tuple[int, ...]]:
        return self.let_go.keys() | self.held()

    def held(self) -> set[tuple[int, ...]]:
        return {prefix for blocks in self.running.values() for prefix in prefixes(blocks)}

    def hold(self, number: int, blocks: list[int]) -> None:
        self.running[number] = blocks
        self.shrink()

    def end(self, number: int) -> None:
        self.touch(self.running.pop(number))

    def touch(self, blocks: list[int]) -> None:
        self.moment += 1
        self.let_go |= dict.fromkeys(prefixes(blocks), self.moment)
        self.shrink()

    def shrink(self) -> None:
        held = self.held()
        free = sorted(self.let_go.keys() - held, key=lambda prefix: (self.let_go[prefix], -len(prefix)))
        for prefix in free[: max(0, len(self.known()) - self.capacity)]:
            del self.let_go[prefix]


def prefixes(blocks: list[int]) -> list[tuple[int, ...]]:
    return [tuple(blocks[: end + 1]) for end in range(len(blocks))]
