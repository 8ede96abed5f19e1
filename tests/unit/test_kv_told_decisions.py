"""Several routers of one host over one log of decisions: what one decides, all of them know."""

from __future__ import annotations

import time
from array import array

import pytest

from dynamo_fe.cli.kv_shared import KvShared
from dynamo_fe.config import load
from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.decisions import DecisionLog, Decisions
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.ranks import RankId, RankLoads, RankTraits
from dynamo_fe.routing.kv.request import Ask, Choice
from dynamo_fe.routing.kv.rules import KvRules

BLOCK = 16
BY_TIME = KvRules(use_kv_events=False, ttl_secs=30.0)
BY_SIZE = KvRules(use_kv_events=False, approximate_policy="lru")
RANKS = {(worker, 0): RankTraits(100, None, frozenset()) for worker in (1, 2, 3)}


class Process:
    """A serving process with one pool; where `now` is left out it is this moment, as decisions carry real times."""

    def __init__(self, log: DecisionLog, seat: int, rules: KvRules = BY_TIME, pool: str = "base") -> None:
        self.decisions = Decisions(log, seat)
        told = self.decisions.of_pool((pool, BLOCK))
        self.pool: Pool[str] = Pool(rules, BLOCK, RankLoads(), None, None, lambda model: BusyThreshold(), told)

    def ask(self, blocks: list[int], now: float | None = None, worker: int | None = None) -> Choice:
        hashes = array("Q", blocks)
        target = None if worker is None else (worker, 0)
        ask = Ask("m", len(blocks) * BLOCK, hashes, hashes, allowed={1, 2, 3}, target=target, strict=worker is not None)
        choice = self.pool.offer(ask, str, time.monotonic() if now is None else now)
        assert isinstance(choice, Choice)
        choice.booking.free()
        return choice


def processes(log: DecisionLog, count: int, rules: KvRules = BY_TIME) -> list[Process]:
    made = [Process(log, seat, rules) for seat in range(count)]
    for each in made:
        each.pool.settle(RANKS)
    return made


@pytest.mark.parametrize("rules", [BY_TIME, BY_SIZE, KvRules(predicted_ttl_secs=30.0)])
def test_what_one_decides_all_know(rules: KvRules) -> None:
    log = DecisionLog(4, 1 << 20)
    first, second, third = processes(log, 3, rules)
    chosen = first.ask([1, 2, 3])
    for tail, other in enumerate((second, third, first)):
        again = other.ask([1, 2, 3, 10 + tail])
        assert (again.key, again.overlap) == (chosen.key, (3, 0, 0))
    # by size the end of a request is told as well
    times = 2 if rules is BY_SIZE else 1
    assert (first.decisions.told_total, first.decisions.heard_total) == (2 * times, 2 * times)


def test_it_ends_for_all_at_the_same_time() -> None:
    first, second = processes(DecisionLog(2, 1 << 20), 2)
    now = time.monotonic()
    first.ask([1, 2], now, worker=2)
    assert second.ask([1, 2], now + 29.9, worker=2).overlap == (2, 0, 0)
    assert first.ask([9, 8], now, worker=3).overlap == (0, 0, 0)
    assert second.ask([9, 8], now + 30.1, worker=3).overlap == (0, 0, 0)


def test_whoever_starts_later_begins_with_what_was_told_and_so_does_a_successor() -> None:
    log = DecisionLog(4, 1 << 20)
    first, second = processes(log, 2)
    first.ask([1, 2], worker=1)
    second.ask([7, 8, 9], worker=3)
    for seat in (0, 1, 2):
        fresh = Process(log, seat)
        fresh.pool.settle({key: traits for key, traits in RANKS.items() if key != (3, 0)})
        fresh.pool.settle(RANKS)
        assert fresh.ask([1, 2], worker=1).overlap == (2, 0, 0), seat
        assert fresh.ask([7, 8, 9], worker=3).overlap == (3, 0, 0), seat
        assert fresh.decisions.lost_total == 0


def test_a_rank_that_comes_back_comes_empty() -> None:
    first, second = processes(DecisionLog(2, 1 << 20), 2, BY_SIZE)
    first.ask([1, 2], worker=1)
    first.ask([3, 4], worker=2)
    without: dict[RankId, RankTraits] = {key: traits for key, traits in RANKS.items() if key != (1, 0)}
    for each in (first, second):
        each.pool.settle(without)
        each.pool.settle(RANKS)
    assert second.ask([1], worker=1).overlap == (0, 0, 0)
    for each in (first, second):
        assert each.ask([1, 2], worker=1).overlap == (1 if each is first else 2, 0, 0)
        assert each.ask([3, 4], worker=2).overlap == (2, 0, 0)


def test_pools_do_not_hear_of_each_other() -> None:
    log = DecisionLog(2, 1 << 20)
    base, other = Process(log, 0), Process(log, 1, pool="other")
    for each in (base, other):
        each.pool.settle(RANKS)
    base.ask([1, 2], worker=1)
    assert other.ask([1, 2], worker=1).overlap == (0, 0, 0)


def test_a_reader_that_is_too_slow_loses_the_oldest_and_counts_it() -> None:
    first, second = processes(DecisionLog(2, 8192), 2)
    assert second.pool.approximate is not None
    second.pool.approximate.most_bytes = 1 << 20
    prompts = [[number * 100 + at for at in range(20)] for number in range(60)]
    for prompt in prompts:
        first.ask(prompt, worker=1)
    found = [second.ask(prompt, worker=1).overlap[0] for prompt in reversed(prompts)]
    kept = found.count(20)
    assert 0 < kept < len(prompts)
    assert found == [20] * kept + [0] * (len(prompts) - kept)
    assert second.decisions.lost_total == len(prompts) - kept
    assert second.decisions.heard_total == kept


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("--router-mode", "kv"), False),
        (("--router-mode", "kv", "--router-predicted-ttl-secs", "2"), True),
        (("--router-mode", "kv", "--no-router-kv-events"), True),
        (("--router-mode", "kv", "--no-router-kv-events", "--router-kv-overlap-score-credit", "0"), False),
        (("--no-router-kv-events",), False),
    ],
)
def test_there_is_a_log_where_decisions_count(argv: tuple[str, ...], wanted: bool) -> None:
    shared = KvShared()
    shared.prepare(load([*argv, "--workers", "3", "--kv-decisions-mb", "2"], {}).settings)
    found = None if shared.decisions is None else (shared.decisions.processes, shared.decisions.budget_bytes)
    assert found == ((12, 2 << 20) if wanted else None)
