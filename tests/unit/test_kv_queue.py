"""Who waits for a rank and in which order they go."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from dynamo_fe.routing.kv.line_board import LineBoard
from dynamo_fe.routing.kv.load_table import LoadTable
from dynamo_fe.routing.kv.queue import QueueFull, Urgency, WaitingRequests
from dynamo_fe.routing.kv.rules import PolicyClass, QueuePolicy

FIXTURE = json.loads((Path(__file__).parent.parent / "fixtures" / "kv" / "load_queue_sampling.json").read_text())


def released(waiting: WaitingRequests[str], count: int | None = None) -> list[str]:
    order = []
    while (count is None or len(order) < count) and (entry := waiting.first()) is not None:
        assert waiting.first() is entry
        waiting.take(entry)
        order.append(entry.payload)
    return order


@pytest.mark.parametrize("policy", ["fcfs", "wspt"])
def test_the_order_is_the_originals(policy: QueuePolicy) -> None:
    waiting = WaitingRequests[str]()
    klass = PolicyClass("default", queue_policy=policy, busy_frac=0.0)
    for at, (name, tokens, jump, strict) in enumerate(FIXTURE["queue_order"]["arrivals"]):
        waiting.push(name, klass, Urgency(strict, jump), tokens, 0, 100 + at * 0.05, 1)
    assert released(waiting) == FIXTURE["queue_order"][policy]
    assert len(waiting) == 0


@pytest.mark.parametrize("case", FIXTURE["queue_threshold"]["cases"])
def test_a_rank_is_busy_strictly_above_its_threshold(case: dict[str, float | str]) -> None:
    klass = PolicyClass("default", busy_frac=float(case["threshold"]))
    above = klass.busy_above(FIXTURE["queue_threshold"]["max_num_batched_tokens"])
    assert (float(case["active_prefill_tokens"]) > above) == (case["next_request"] == "queued")


def test_a_worker_that_does_not_say_its_batch_takes_ten_million() -> None:
    assert PolicyClass("a", busy_frac=0.5).busy_above(None) == 5_000_000
    assert PolicyClass("a", busy_tokens=10, busy_frac=0.5).busy_above(40) == 10


def test_cached_tokens_shorten_the_line_of_wspt() -> None:
    waiting = WaitingRequests[str]()
    klass = PolicyClass("default", queue_policy="wspt", busy_frac=0.0)
    waiting.push("short", klass, Urgency(), 50, 0, 0.0, 1)
    waiting.push("cached", klass, Urgency(), 100, 90, 1.0, 1)
    assert released(waiting) == ["cached", "short"]


def test_one_that_leaves_is_passed_over_and_counts_no_more() -> None:
    waiting = WaitingRequests[str]()
    klass = PolicyClass("default", busy_frac=0.0, request_limit=2)
    first, _ = (waiting.push(name, klass, Urgency(), 10, 4, at, 1) for at, name in enumerate("ab"))
    with pytest.raises(QueueFull):
        waiting.push("c", klass, Urgency(), 10, 0, 2.0, 1)
    waiting.drop(first)
    waiting.drop(first)
    assert waiting.pending() == [(klass, 1, 10, 4)]
    waiting.push("c", klass, Urgency(), 10, 0, 2.0, 1)
    assert released(waiting) == ["b", "c"]
    waiting.drop(first)
    assert waiting.pending() == [(klass, 0, 0, 0)]


def test_many_that_leave_do_not_stay_in_memory() -> None:
    waiting = WaitingRequests[str]()
    klass = PolicyClass("default", busy_frac=0.0)
    waiting.push("stays", klass, Urgency(9), 1, 0, 0.0, 1)
    for at in range(1000):
        waiting.drop(waiting.push(str(at), klass, Urgency(), 1, 0, 1.0, 1))
    assert len(waiting._lines[klass]._heap) < 40
    assert released(waiting) == ["stays"]


@pytest.mark.parametrize(
    ("klass", "text"),
    [
        (PolicyClass("k", request_limit=1), 'class "k" queue requests limit reached (current=2, limit=2)'),
        (PolicyClass("k", isl_token_limit=10), 'class "k" queue raw_isl_tokens limit reached (current=20, limit=20)'),
        (PolicyClass("k", cached_token_limit=3), 'class "k" queue cached_tokens limit reached (current=8, limit=6)'),
    ],
)
def test_limits_are_per_worker_and_say_where_they_stand(klass: PolicyClass, text: str) -> None:
    waiting = WaitingRequests[str]()
    for _ in range(2):
        waiting.push("a", klass, Urgency(), 10, 4, 0.0, 2)
    with pytest.raises(QueueFull) as refusal:
        waiting.push("a", klass, Urgency(), 10, 4, 0.0, 2)
    assert text in str(refusal.value)


def test_limits_hold_for_all_processes_together_until_one_is_gone() -> None:
    table = LoadTable(3, 4)
    first, second, third = (WaitingRequests[str](LineBoard(table, process, ("pool",))) for process in range(3))
    klass, other = PolicyClass("k", request_limit=2, isl_token_limit=1000), PolicyClass("other", request_limit=1)
    elsewhere = WaitingRequests[str](LineBoard(table, 0, ("another pool",)))
    for waiting, one in ((elsewhere, klass), (first, other), (first, klass), (second, klass)):
        entry = waiting.push("a", one, Urgency(), 10, 4, 0.0, 1)
    for waiting in (first, second, third):
        with pytest.raises(QueueFull, match=r"queue requests limit reached \(current=2, limit=2\)"):
            waiting.push("b", klass, Urgency(), 10, 4, 0.0, 1)
    second.drop(entry)
    third.push("c", klass, Urgency(), 999, 4, 0.0, 1)
    with pytest.raises(QueueFull, match=r"current=2, limit=2"):
        first.push("b", klass, Urgency(), 10, 4, 0.0, 1)
    table.clear(2)
    first.push("b", klass, Urgency(), 10, 4, 0.0, 1)


def two_lines(policy: PolicyClass, *urgencies: Urgency) -> tuple[WaitingRequests[str], WaitingRequests[str]]:
    """Of two processes: in the first these wait since 100 s, a millisecond after each other."""
    table = LoadTable(2, 4)
    first, second = (WaitingRequests[str](LineBoard(table, process, ("pool",))) for process in range(2))
    for at, urgency in enumerate(urgencies):
        first.push("a", policy, urgency, 10, 4, 100.0 + at / 1000, 1)
    return first, second


def test_one_that_has_waited_long_goes_before_those_of_other_processes() -> None:
    klass = PolicyClass("k", busy_frac=0.0)
    first, second = two_lines(klass, Urgency())
    assert not second.gives_way(klass, Urgency(), 100.4, 100.4)
    first.look(100.6)
    assert second.gives_way(klass, Urgency(), 100.6, 100.6)
    assert second.gives_way(klass, Urgency(), 100.6, 101.0)
    assert not second.gives_way(klass, Urgency(), 99.0, 100.6)
    assert not second.gives_way(PolicyClass("other", busy_frac=0.0), Urgency(), 100.6, 100.6)
    waits = first.first()
    assert waits is not None
    assert not first.gives_way(klass, waits.urgency, waits.since, 100.6)
    first.take(waits)
    assert not second.gives_way(klass, Urgency(), 100.6, 100.6)


def test_nobody_waits_for_a_process_that_does_not_look_after_its_line() -> None:
    klass = PolicyClass("k", busy_frac=0.0)
    first, second = two_lines(klass, Urgency())
    first.look(100.6)
    assert second.gives_way(klass, Urgency(), 101.0, 101.0)
    assert not second.gives_way(klass, Urgency(), 101.2, 101.2)


def test_priorities_and_jumps_count_among_processes_as_in_one() -> None:
    klass = PolicyClass("k", busy_frac=0.0)
    _, second = two_lines(klass, Urgency(), Urgency(2))
    assert second.gives_way(klass, Urgency(1), 100.0, 100.1)
    assert not second.gives_way(klass, Urgency(3), 100.1, 100.1)
    _, second = two_lines(klass, Urgency(), Urgency(0, 30.0))
    assert second.gives_way(klass, Urgency(0, 20.0), 100.1, 100.1)
    assert not second.gives_way(klass, Urgency(0, 30.0), 100.1, 100.1)
    for most in (1e9, sys.float_info.max):
        _, second = two_lines(klass, Urgency(0, most))
        assert second.gives_way(klass, Urgency(), 100.1, 100.1)
        assert not second.gives_way(klass, Urgency(0, most), 100.1, 100.1)


def test_a_class_that_goes_by_length_gives_way_to_nobody() -> None:
    klass = PolicyClass("k", queue_policy="wspt", busy_frac=0.0)
    _, second = two_lines(klass, Urgency())
    assert not second.gives_way(klass, Urgency(), 100.9, 100.4)


def test_classes_beyond_the_room_that_processes_share_are_limited_in_each() -> None:
    table = LoadTable(2, 4)
    first, second = (WaitingRequests[str](LineBoard(table, process, ("pool",))) for process in range(2))
    last = PolicyClass("99", request_limit=1)
    for at in range(100):
        first.push("a", PolicyClass(str(at), request_limit=1), Urgency(), 10, 4, 0.0, 1)
    second.push("a", last, Urgency(), 10, 4, 0.0, 1)
    for waiting in (first, second):
        with pytest.raises(QueueFull):
            waiting.push("b", last, Urgency(), 10, 4, 0.0, 1)


def test_classes_share_by_their_quanta() -> None:
    """512 to 128: of the first 320 served 254 to 257 are of the first class in the original."""
    waiting = WaitingRequests[str]()
    for name, quantum in (("premium", 512), ("plain", 128)):
        klass = PolicyClass(name, quantum=quantum, busy_frac=0.0)
        for at in range(400):
            waiting.push(name, klass, Urgency(), 64, 0, float(at), 1)
    assert 254 <= Counter(released(waiting, 320))["premium"] <= 257


def test_a_class_that_is_alone_waits_for_no_quantum() -> None:
    waiting = WaitingRequests[str]()
    waiting.push("a", PolicyClass("a", quantum=1), Urgency(), 1_000_000, 0, 0.0, 1)
    assert released(waiting) == ["a"]
    for name in "ab":
        waiting.push(name, PolicyClass(name, quantum=1), Urgency(), 5_000_000 if name == "a" else 4_999_999, 0, 0.0, 1)
    assert released(waiting) == ["b", "a"]
