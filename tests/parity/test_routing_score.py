"""The compiled score gives every rank the cost that its plain-Python statement gives, and takes the same one."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.prefix_index import Overlaps, Writer, region_bytes
from dynamo_fe._cext.routing_score import Candidates, Weights
from tests.reference import routing_score as reference

FACTOR = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0]) | st.floats(0, 10)
WEIGHTS = st.builds(
    reference.Weights,
    FACTOR,
    FACTOR,
    FACTOR,
    FACTOR,
    FACTOR,
    FACTOR,
    st.none() | FACTOR,
    st.none() | FACTOR,
    FACTOR,
    st.just(0.0) | st.floats(0.01, 5),
    st.booleans(),
    st.booleans(),
)
BLOCKS = st.integers(0, 12)
ROW = st.builds(
    reference.Row,
    BLOCKS,
    BLOCKS,
    BLOCKS,
    BLOCKS,
    st.integers(0, 400) | st.integers(0, 10**9),
    st.integers(0, 40).map(float),
    st.integers(0, 20),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.0, 0.5, -1.0, 2.0]) | st.floats(-50, 50),
    st.booleans() | st.just(True),
)
ROWS = st.lists(ROW, max_size=20)


def compiled(weights: reference.Weights) -> Weights:
    return Weights(**dict(zip(weights.__dataclass_fields__, astuple(weights), strict=True)))


def candidates_of(rows: Sequence[reference.Row]) -> Candidates:
    candidates = Candidates(len(rows))
    for number, row in enumerate(rows):
        for name in row.__dataclass_fields__:
            getattr(candidates, name)[number] = getattr(row, name)
    return candidates


@given(ROWS, WEIGHTS, st.integers(0, 500), st.integers(1, 64), st.floats(0, 1, exclude_max=True))
def test_costs_ties_and_choice(
    rows: list[reference.Row], weights: reference.Weights, prompt_tokens: int, block_tokens: int, draw: float
) -> None:
    complete_blocks = prompt_tokens // block_tokens
    candidates = candidates_of(rows)
    chosen = candidates.choose(compiled(weights), prompt_tokens, block_tokens, complete_blocks, draw)
    costs = reference.costs(rows, weights, prompt_tokens, block_tokens, complete_blocks)
    assert list(candidates.cost) == pytest.approx(costs, rel=1e-9, abs=1e-9)
    assert list(candidates.cached_tokens) == [reference.cached_tokens(row, weights, block_tokens) for row in rows]
    eligible = [cached for cached, row in zip(candidates.cached_tokens, rows, strict=True) if row.eligible]
    assert candidates.most_cached_tokens == max(eligible, default=0)
    assert candidates.ties() == reference.ties(list(candidates.cost))
    assert chosen == reference.choose(reference.probabilities(list(candidates.cost), weights.temperature), draw)
    for number, row in enumerate(rows):
        if row.eligible:
            assert candidates.terms(number).cost == candidates.cost[number]


@given(ROWS, WEIGHTS)
def test_a_forgotten_prompt_costs_like_one_that_nobody_holds(
    rows: list[reference.Row], weights: reference.Weights
) -> None:
    candidates = candidates_of(rows)
    candidates.forget_prompt()
    candidates.choose(compiled(weights), 130, 16, 8, 0.5)
    unknown = [replace(row, device=0, host=0, disk=0, shared_prefix=0) for row in rows]
    assert list(candidates.cost) == pytest.approx(reference.costs(unknown, weights, 130, 16, 8), rel=1e-9, abs=1e-9)


@given(st.lists(ROW, min_size=1, max_size=8), WEIGHTS)
def test_the_terms_add_up(rows: list[reference.Row], weights: reference.Weights) -> None:
    candidates = candidates_of([replace(row, eligible=True) for row in rows])
    candidates.choose(compiled(weights), 130, 16, 8, 0.5)
    for number in range(len(rows)):
        terms = candidates.terms(number)
        if weights.track_prefill_tokens:
            total = terms.prefill + terms.decode
        else:
            total = max(0.0, terms.decode - terms.credit)
        assert terms.cost == pytest.approx((total + terms.active_requests) * terms.taint_factor)


def test_every_row_of_least_cost_is_taken_equally_often() -> None:
    candidates = candidates_of([reference.Row(active_blocks=blocks) for blocks in (3, 1, 2, 1, 1)])
    draws = [candidates.choose(Weights(), 64, 16, 4, number / 3000) for number in range(3000)]
    assert {row: draws.count(row) for row in set(draws)} == {1: 1000, 3: 1000, 4: 1000}
    assert candidates.ties() == [1, 3, 4]


@pytest.mark.parametrize(("temperature", "shares"), [(0.5, (0.715, 0.188, 0.097)), (1.0, (0.531, 0.273, 0.196))])
def test_sampling_with_a_temperature(temperature: float, shares: tuple[float, ...]) -> None:
    """The frequencies that the released router showed over 4,000 draws at costs of 5, 7 and 8."""
    candidates = candidates_of([reference.Row(active_blocks=blocks) for blocks in (0, 2, 3)])
    weights = Weights(temperature=temperature, track_prefill_tokens=False)
    draws = [candidates.choose(weights, 80, 16, 5, number / 4000) for number in range(4000)]
    assert list(candidates.cost) == [5, 7, 8]
    assert [draws.count(row) / 4000 for row in range(3)] == pytest.approx(shares, abs=1e-3)


def test_overlaps_are_gathered_by_slot() -> None:
    index = Writer(mmap.mmap(-1, region_bytes(100, 8)), 8)
    overlaps = Overlaps(8)
    index.stored(7, 0, None, [1, 2, 3], [11, 12, 13])
    index.stored(9, 1, None, [1], [11])
    index.stored(9, 1, 1, [2], [12], tier=1)
    index.find([11, 12, 13], overlaps)
    slots = {worker: slot for slot, worker, _ in index.ranks()}
    candidates = Candidates(4)
    for row, slot in enumerate([slots[9], -1, slots[7], 5000]):
        candidates.slot[row] = slot
    candidates.device[1] = candidates.host[3] = 77
    candidates.take_overlaps(overlaps)
    assert (list(candidates.device), list(candidates.host)) == ([1, 0, 3, 0], [1, 0, 0, 0])


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", [name for name in reference.Weights.__dataclass_fields__ if "track" not in name])
def test_a_senseless_weight_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is"):
        Weights(**{name: value})


@pytest.mark.parametrize("request_", [(-1, 16, 0, 0.0), (1, 0, 0, 0.0), (1, 16, -1, 0.0), (1, 16, 0, 1.0)])
def test_a_senseless_request_is_refused(request_: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match="no request"):
        Candidates(1).choose(Weights(), *request_)


def test_columns_cannot_be_resized() -> None:
    candidates = Candidates(2)
    with pytest.raises(BufferError):
        candidates.cost.append(1.0)
    with pytest.raises(IndexError):
        candidates.terms(0)
