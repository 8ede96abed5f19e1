"""What decisions alone tell of a rank's cache."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo_fe.routing.kv.approximate import ApproximateIndex


def path(*blocks: int) -> list[int]:
    return [hash(blocks[: end + 1]) & (2**64 - 1) for end in range(len(blocks))]


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
    index.note(0, [], 3, 0.0)
    assert index.leases == 1


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), max_size=40), st.integers(1, 9))
def test_by_size_it_never_holds_more_than_the_rank(decisions: list[list[int]], capacity: int) -> None:
    index = ApproximateIndex(1.0, by_size=True)
    for blocks in decisions:
        index.note(0, path(*blocks), capacity, 0.0)
        assert index.blocks <= capacity
        assert index.depths(path(*blocks), 0.0)[0] == min(len(blocks), capacity)
