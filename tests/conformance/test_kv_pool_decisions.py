"""The choices of Dynamo 1.6.1's selector, replayed: the same costs to 1e-9, the same sets of cheapest ranks."""

from __future__ import annotations

import json
import mmap
import random
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe._cext.prefix_index import Reader, Writer, region_bytes
from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.ranks import RankId, RankLoads, RankTraits
from dynamo_fe.routing.kv.request import Ask, Choice, NoRank
from dynamo_fe.routing.kv.rules import CostWeights, KvRules

FIXTURES = Path(__file__).parent.parent / "fixtures" / "kv"
RUNS = json.loads((FIXTURES / "routing_decisions.json").read_text())["runs"]
SAMPLING = json.loads((FIXTURES / "load_queue_sampling.json").read_text())
TIERS = {"device": 0, "host_pinned": 1, "disk": 2}
BLOCK = 16
# the index says of itself what it is in its first cache line
LINE = 64


def pool_of(rules: KvRules, writer: Writer | None = None, busy: BusyThreshold | None = None) -> Pool[str]:
    return Pool(rules, BLOCK, RankLoads(), None, writer, lambda model: busy or BusyThreshold())


def hashes(path: list[int], tail: int = 0) -> tuple[array[int], array[int], int]:
    tokens = [block * 100 + at for block in path for at in range(BLOCK)] + [7] * tail
    local = local_hashes(tokens, BLOCK)
    return local, sequence_hashes(local), len(tokens)


class Replay:
    """One run of the fixture. Engine block hashes are the sequence hashes."""

    def __init__(self, config: dict[str, Any]) -> None:
        given = dict(config)
        tracks = given.pop("track_prefill_tokens")
        self.weights = CostWeights(**given)
        rules = KvRules(
            self.weights, self.weights.host_cache_hit_weight, self.weights.disk_cache_hit_weight,
            track_prefill_tokens=tracks,
        )  # fmt: skip
        self.writer = Writer(mmap.mmap(-1, region_bytes(4096, 64)), 64)
        # the selector keeps its index whatever the credit is, which only the frontend does not
        self.pool = pool_of(rules, self.writer)
        self.ranks: dict[RankId, RankTraits] = {}
        self.choices: dict[str, Choice] = {}

    def run(self, op: dict[str, Any]) -> None:
        getattr(self, f"on_{op['op']}")(op)

    def on_worker(self, op: dict[str, Any]) -> None:
        for dp_rank in range(op["dp_size"]):
            self.ranks[op["worker"], dp_rank] = RankTraits(None, None, frozenset(op["taints"]))
        self.pool.settle(self.ranks)

    def on_stored(self, op: dict[str, Any]) -> None:
        local, blocks, _ = hashes(op["path"])
        first = op["first"]
        parent = blocks[first - 1] if first else None
        status = self.writer.stored(
            op["worker"], op["dp_rank"], parent, blocks[first:], local[first:], TIERS[op["tier"]]
        )
        assert status == "ok"

    def on_removed(self, op: dict[str, Any]) -> None:
        _, blocks, _ = hashes(op["path"])
        assert self.writer.removed(op["worker"], op["dp_rank"], blocks[-1:], TIERS[op["tier"]]) == "ok"

    def on_prefill_complete(self, op: dict[str, Any]) -> None:
        self.choices[op["id"]].booking.prefill_done()

    def on_free(self, op: dict[str, Any]) -> None:
        self.choices[op["id"]].booking.free()

    def on_select_and_reserve(self, op: dict[str, Any]) -> None:
        local, tracked, tokens = hashes(op["path"], op["tail"])
        constraints = op.get("routing_constraints", {})
        affinity = op.get("affinity_target")
        ask = Ask(
            "m",
            tokens,
            local,
            tracked,
            allowed=op.get("allowed_worker_ids") or {key[0] for key in self.ranks},
            target=None if affinity is None else (affinity["worker_id"], affinity["dp_rank"]),
            required_taints=frozenset(constraints.get("required_taints", ())),
            preferred_taints=constraints.get("preferred_taints", {}),
            explain=True,
        )
        expected = op["expect"]
        if "error" in expected:
            with pytest.raises(NoRank, match=expected["error"]):
                self.pool.offer(ask, str, 0.0)
            return
        choice = self.booked_as(ask, (expected["worker_id"], expected["dp_rank"]))
        self.choices[op["id"]] = choice
        assert choice.cost == pytest.approx(expected["cost"], abs=1e-9), op["id"]
        assert choice.booking.prefill_tokens == (
            expected["effective_prefill_tokens"] if self.pool.rules.track_prefill_tokens else 0
        )
        assert list(choice.overlap) == expected["overlap_blocks"]
        assert choice.explanation is not None
        least = choice.explanation["candidates"][0]["cost"]
        cheapest = [
            [each["worker_id"], each["dp_rank"]]
            for each in choice.explanation["candidates"]
            if each["cost"] <= least + 1e-6
        ]
        assert sorted(cheapest) == sorted(expected["acceptable"]), op["id"]

    def booked_as(self, ask: Ask, wanted: RankId) -> Choice:
        """The choice, drawn again until it is the one that the original's dice gave."""
        for _ in range(400):
            choice = self.pool.offer(ask, str, 0.0)
            assert isinstance(choice, Choice)
            if choice.key == wanted:
                return choice
            choice.booking.free()
        raise AssertionError(f"{wanted} is never chosen")


@pytest.mark.parametrize("run", RUNS, ids=[run["name"] for run in RUNS])
def test_every_decision_is_the_originals(run: dict[str, Any]) -> None:
    assert run["block_size"] == BLOCK
    replay = Replay(run["config"])
    for op in run["ops"]:
        replay.run(op)
    for choice in replay.choices.values():
        choice.booking.free()
    assert [(rank.active_blocks, rank.prefill_tokens) for rank in replay.pool.loads] == [(0, 0)] * 4


def test_a_look_that_may_have_missed_blocks_is_counted() -> None:
    local, tracked, tokens = hashes([1, 2])
    memory = mmap.mmap(-1, region_bytes(4096, 64))
    Writer(memory, 64).stored(1, 0, None, tracked, local)
    pool = Pool[str](KvRules(), BLOCK, RankLoads(), None, Reader(memory), lambda model: BusyThreshold())
    pool.settle({(1, 0): RankTraits(None, None, frozenset())})
    overlaps = []
    for gone in (False, True):
        if gone:
            memory[:LINE] = bytes(LINE)
        choice = pool.offer(Ask("m", tokens, local, tracked, allowed={1}), str, 0.0)
        assert isinstance(choice, Choice)
        overlaps.append(choice.overlap)
        assert pool.partial_finds == gone
    assert overlaps == [(2, 0, 0), (0, 0, 0)]


def drawn(pool: Pool[str], ask: Ask, count: int) -> Counter[RankId]:
    found: Counter[RankId] = Counter()
    for _ in range(count):
        choice = pool.offer(ask, str, 0.0)
        assert isinstance(choice, Choice)
        found[choice.key] += 1
        choice.booking.free()
    return found


def ranks(*workers: int) -> dict[RankId, RankTraits]:
    return {(worker, 0): RankTraits(None, None, frozenset()) for worker in workers}


def test_ties_are_broken_evenly() -> None:
    pool = pool_of(KvRules())
    pool.settle(ranks(1, 2, 3))
    local, tracked, tokens = hashes([1, 2])
    found = drawn(pool, Ask("m", tokens, local, tracked, allowed={1, 2, 3}), 3000)
    assert all(850 < found[worker, 0] < 1150 for worker in (1, 2, 3))


@pytest.mark.parametrize("case", SAMPLING["softmax"]["cases"], ids=lambda case: str(case["temperature"]))
def test_a_temperature_draws_as_the_original(case: dict[str, Any]) -> None:
    """Costs 5, 7 and 8, made of active blocks."""
    pool = pool_of(KvRules(CostWeights(router_temperature=case["temperature"])))
    pool.settle(ranks(1, 2, 3))
    local, tracked, tokens = hashes([1])
    for worker, blocks in ((1, 3), (2, 5), (3, 6)):
        rank = pool.loads.get(worker, 0)
        assert rank is not None
        pool.loads.book(rank, [], blocks, 0)
    found = drawn(pool, Ask("m", tokens, local, tracked, allowed={1, 2, 3}), 4000)
    for worker, chance in zip((1, 2, 3), case["p_formula"], strict=True):
        assert abs(found[worker, 0] / 4000 - chance) < 0.035


def test_nothing_eligible_is_told_from_overload() -> None:
    pool = pool_of(KvRules(), busy=BusyThreshold(active_prefill_tokens_threshold=10))
    pool.settle(ranks(1, 2))
    local, tracked, tokens = hashes([1])
    with pytest.raises(NoRank, match="no endpoints available") as refusal:
        pool.offer(Ask("m", tokens, local, tracked, allowed={3}), str, 0.0)
    assert not refusal.value.overloaded
    first = pool.offer(Ask("m", tokens, local, tracked, allowed={1}), str, 0.0)
    with pytest.raises(NoRank) as refusal:
        pool.offer(Ask("m", tokens, local, tracked, allowed={1}), str, 0.0)
    assert refusal.value.overloaded
    assert drawn(pool, Ask("m", tokens, local, tracked, allowed={1, 2}), 20) == {(2, 0): 20}
    assert isinstance(first, Choice)
    first.booking.prefill_done()
    assert isinstance(pool.offer(Ask("m", tokens, local, tracked, allowed={1}), str, 0.0), Choice)


def test_without_events_the_decisions_themselves_are_remembered() -> None:
    pool = pool_of(KvRules(use_kv_events=False, ttl_secs=3.0))
    pool.settle(ranks(1, 2, 3, 4))
    draw = random.Random(1)
    local, tracked, tokens = hashes([1, 2, 3, 4])
    ask = Ask("m", tokens, local, tracked, allowed={1, 2, 3, 4})

    def place(now: float) -> Choice:
        choice = pool.offer(ask, str, now)
        assert isinstance(choice, Choice)
        choice.booking.free()
        return choice

    first = place(draw.random())
    again = place(2.0)
    assert (again.key, again.overlap, again.cached_tokens) == (first.key, (4, 0, 0), 64)
    assert place(4.9).key == first.key
    assert place(8.0).overlap == (0, 0, 0)


def test_predictions_stand_in_until_the_event_arrives() -> None:
    writer = Writer(mmap.mmap(-1, region_bytes(1024, 8)), 8)
    pool = pool_of(KvRules(predicted_ttl_secs=1.0), writer)
    pool.settle(ranks(1, 2))
    local, tracked, tokens = hashes([1, 2, 3])
    ask = Ask("m", tokens, local, tracked, allowed={1, 2})
    first = pool.offer(ask, str, 0.0)
    assert isinstance(first, Choice)
    first.booking.free()
    second = pool.offer(ask, str, 0.5)
    assert isinstance(second, Choice)
    assert (second.key, second.overlap) == (first.key, (3, 0, 0))
    second.booking.free()
    writer.stored(first.key[0], 0, None, tracked[:1], local[:1], 0)
    third = pool.offer(ask, str, 9.0)
    assert isinstance(third, Choice)
    assert (third.key, third.overlap) == (first.key, (1, 0, 0))
