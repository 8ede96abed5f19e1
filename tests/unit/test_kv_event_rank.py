"""One rank's KV events: order, gaps, dumps, and everything that may go wrong on the way."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.protocol import kv_recovery
from dynamo_fe.protocol.events import MalformedEvent
from dynamo_fe.routing.kv_events.rank import MAX_BUFFERED_EVENTS, MAX_FAILURES, RankFeed, State
from dynamo_fe.routing.kv_events.tally import TALLY_BYTES, Tally

WORKER, RANK = 0x1F, 2


class Index:
    """Writes down what it is told; `held` is what a rank would hold on device."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.told: list[tuple[Any, ...]] = []
        self.counted: list[tuple[str, str]] = []

    def stored(
        self, worker: int, rank: int, parent: int | None, blocks: array[int], local: array[int], tier: int = 0
    ) -> str:
        assert (worker, rank) == (WORKER, RANK) and len(blocks) == len(local)
        self.told.append(("stored", parent, *zip(blocks, local, strict=True), tier))
        self.held.update(blocks)
        return "ok"

    def removed(self, worker: int, rank: int, blocks: array[int], tier: int = 0) -> str:
        self.told.append(("removed", *blocks, tier))
        self.held.difference_update(blocks)
        return "ok"

    def cleared(self, worker: int, rank: int) -> str:
        self.told.append(("cleared",))
        self.held.clear()
        return "ok"

    def remove_rank(self, worker: int, rank: int) -> bool:
        self.told.append(("rank",))
        self.held.clear()
        return True

    def count(self, event: str, status: str) -> None:
        self.counted.append((event, status))


class Bench:
    """A feed with its index, and a worker that answers from all that was ever said."""

    def __init__(self) -> None:
        self.index = Index()
        self.tally = Tally(bytearray(TALLY_BYTES))
        self.feed = RankFeed(WORKER, RANK, self.index, self.tally)

    def live(self, *events: Any) -> None:
        self.feed.take(msgspec.msgpack.encode(list(events)))

    def answered(self, name: str, **fields: Any) -> None:
        """Answers the query that the feed wants asked."""
        assert self.feed.ask() is not None
        self.feed.answer(msgspec.msgpack.encode({name: fields}), "msgpack")
        while self.feed.apply(2):
            pass

    def dumped(self, *events: Any, last: int = 0) -> None:
        self.answered("TreeDump", events=list(events), last_event_id=last, reset_scope="all")

    def counts(self) -> dict[str, int]:
        return {name: value for name, value in self.tally.values().items() if value}


def event(event_id: int, data: Any, **changes: Any) -> dict[str, Any]:
    whole = {"worker_id": WORKER, "storage_tier": "device", "residency_domain": "worker"}
    return whole | {"event": {"event_id": event_id, "data": data, "dp_rank": RANK}} | changes


def store(event_id: int, *blocks: int, parent: int | None = None, **changes: Any) -> dict[str, Any]:
    listed = [{"block_hash": block, "tokens_hash": block + 1000, "mm_extra_info": None} for block in blocks]
    data = {"stored": {"parent_hash": parent, "start_position": None, "blocks": listed}}
    return event(event_id, data, **changes)


def remove(event_id: int, *blocks: int) -> dict[str, Any]:
    return event(event_id, {"removed": {"block_hashes": list(blocks)}})


def live_bench(*events: Any, last: int = 0) -> Bench:
    bench = Bench()
    bench.dumped(*events, last=last)
    assert bench.feed.state is State.LIVE
    return bench


def test_the_first_thing_is_a_dump_and_what_came_meanwhile_follows_it() -> None:
    bench = Bench()
    bench.live(store(7, 5))
    bench.live(store(8, 6))
    assert bench.index.told == []
    query = bench.feed.ask()
    assert query == kv_recovery.RecoveryQuery(WORKER, RANK, None)
    assert bench.feed.ask() is None
    bench.feed.wanted = True
    bench.dumped(store(1, 1, 2), store(2, 5, parent=2), last=7)
    assert bench.index.held == {1, 2, 5, 6}
    assert (bench.feed.last, bench.feed.state) == (8, State.LIVE)
    assert bench.counts() == {"batches": 2, "queries": 2, "dumps": 1, "repeated": 1}


def test_events_in_order_are_applied_as_they_come() -> None:
    bench = live_bench(last=0)
    bench.live(store(1, 1, 2), store(2, 3, parent=2, storage_tier="disk"))
    bench.live(remove(3, 2))
    bench.live(store(3, 99))
    bench.live(event(4, "cleared"))
    assert bench.index.told[1:] == [
        ("stored", None, (1, 1001), (2, 1002), 0),
        ("stored", 2, (3, 1003), 2),
        ("removed", 2, 0),
        ("cleared",),
    ]
    assert bench.feed.last == 4 and bench.feed.ask() is None


def test_a_gap_is_filled_by_what_the_worker_still_has() -> None:
    """The specification's example: cursor at 7, 8 is lost, 9 arrives."""
    bench = live_bench(last=7)
    bench.live(store(9, 9))
    assert bench.feed.state is State.RECOVERING and 9 not in bench.index.held
    assert bench.feed.wanted
    bench.answered("Events", events=[store(8, 8), store(9, 9)], last_event_id=9)
    assert [told for told in bench.index.told if told[0] == "stored"] == [
        ("stored", None, (8, 1008), 0),
        ("stored", None, (9, 1009), 0),
    ]
    assert (bench.feed.last, bench.feed.state) == (9, State.LIVE)
    assert bench.counts()["gaps"] == 1


def test_a_gap_older_than_the_worker_remembers_replaces_everything() -> None:
    bench = live_bench(store(1, 1, 2), last=1)
    bench.live(store(5000, 7))
    bench.dumped(store(1, 3), store(2, 7), last=5000)
    assert bench.index.held == {3, 7}
    bench.live(store(5001, 8))
    assert bench.index.held == {3, 7, 8}


def test_what_the_worker_has_no_more_is_skipped() -> None:
    bench = live_bench(last=7)
    bench.live(store(9, 9), store(12, 12))
    bench.answered("Events", events=[store(9, 9)], last_event_id=9)
    assert bench.feed.state is State.RECOVERING, "the answer brought something: ask once more"
    bench.answered("TooNew", requested_start=10, requested_end=9, newest_available=9)
    assert bench.index.held == {9, 12}
    assert (bench.feed.last, bench.feed.state) == (12, State.LIVE)
    assert bench.counts()["gaps_skipped"] == 1


def test_a_cleared_event_after_a_gap_asks_too() -> None:
    bench = live_bench(store(1, 1), last=1)
    bench.live(event(3, "cleared"))
    assert bench.feed.wanted and bench.index.held == {1}


def test_a_worker_that_counts_anew_is_dumped_again() -> None:
    bench = live_bench(store(1, 1), last=700)
    bench.feed.joined()
    bench.answered("TooNew", requested_start=701, requested_end=2, newest_available=2)
    assert bench.feed.wanted
    bench.dumped(store(1, 4), last=2)
    assert bench.index.held == {4} and bench.feed.last == 2


def test_after_an_interruption_it_asks_for_what_it_may_have_missed() -> None:
    bench = live_bench(store(1, 1), last=3)
    bench.feed.joined()
    bench.live(store(6, 6))
    query = bench.feed.ask()
    assert query is not None and query.start_event_id == 4
    bench.feed.wanted = True
    bench.answered("Events", events=[store(4, 4), store(5, 5)], last_event_id=5)
    assert bench.index.held == {1, 4, 5, 6}


def test_joining_while_a_query_is_out_asks_again_after_it() -> None:
    bench = Bench()
    assert bench.feed.ask() is not None
    bench.feed.joined()
    bench.feed.answer(msgspec.msgpack.encode({"TreeDump": {"events": [], "last_event_id": 4}}), "msgpack")
    assert not bench.feed.apply(10)
    bench.answered("TooNew", requested_start=5, requested_end=4, newest_available=4)
    assert (bench.feed.last, bench.feed.state) == (4, State.LIVE)


def test_an_unknown_residency_moves_the_cursor_only() -> None:
    bench = live_bench(last=0)
    bench.live(store(1, 1, residency_domain="planet"), store(2, 2, residency_domain=None))
    bench.live(event(3, "cleared", residency_domain="x"), store(4, 4))
    assert bench.index.held == {4} and bench.feed.last == 4
    refused = "unsupported_residency_domain"
    assert bench.index.counted == [("stored", refused), ("stored", refused), ("cleared", refused)]


def test_missing_residency_and_tier_mean_the_rank_and_its_device() -> None:
    bench = live_bench(last=0)
    bare = {"worker_id": WORKER, "event": store(1, 1)["event"], "colour": "blue"}
    bench.live(bare)
    assert bench.index.told[-1] == ("stored", None, (1, 1001), 0)


@pytest.mark.parametrize("changes", [{"worker_id": 3}, {"event": {"event_id": 1, "data": "cleared", "dp_rank": 0}}])
def test_a_batch_about_somebody_else_is_dropped_whole(changes: dict[str, Any]) -> None:
    bench = live_bench(last=0)
    bench.live(store(1, 1), store(2, 2) | changes)
    assert bench.index.held == set() and bench.feed.last == 0
    assert bench.counts()["foreign"] == 1
    bench.live(store(3, 3))
    assert bench.feed.wanted


def test_what_cannot_be_read_is_counted_and_the_rest_recovered() -> None:
    bench = live_bench(last=0)
    bench.feed.take(b"\xc1")
    bench.feed.take(msgspec.msgpack.encode(store(1, 1)))
    bench.live(store(1, 1), event(2, {"moved": {}}), event(3, {"stored": None}))
    assert bench.counts()["malformed"] == 4
    assert bench.index.held == {1}
    bench.live(store(4, 4))
    bench.answered("Events", events=[event(2, {"moved": {}}), event(3, {}), store(4, 4)], last_event_id=4)
    assert bench.index.held == {1, 4} and bench.feed.last == 4
    assert bench.counts()["malformed"] == 6


def test_blocks_that_cannot_be_read_cost_their_event_and_no_other() -> None:
    bench = live_bench(last=0)
    damaged = store(2, 2)
    damaged["event"]["data"]["stored"]["blocks"][0]["block_hash"] = -1
    bench.live(store(1, 1), damaged, store(3, 3))
    assert bench.index.held == {1, 3} and bench.feed.last == 3
    assert bench.counts()["malformed"] == 1


def test_too_many_events_during_a_query_are_asked_for_again() -> None:
    bench = live_bench(last=0)
    bench.live(store(2, 2))
    for number in range(3, 3 + MAX_BUFFERED_EVENTS):
        bench.live(store(number, number))
    newest = 2 + MAX_BUFFERED_EVENTS
    assert bench.counts()["buffer_overflows"] == 1
    bench.answered("Events", events=[store(1, 1)], last_event_id=1)
    if bench.feed.wanted:
        fresh = [store(number, number) for number in range(2, newest + 1)]
        bench.answered("Events", events=fresh, last_event_id=newest)
    assert bench.index.held == set(range(1, newest + 1)) and bench.feed.last == newest


@pytest.mark.parametrize(
    "item",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"Error": "WorkerKvQueryEngine::generate dp_rank mismatch"}),
        msgspec.msgpack.encode({"InvalidRange": {"start_id": 3, "end_id": 2}}),
        msgspec.msgpack.encode({"TreeDumpFailed": {}}),
        msgspec.msgpack.encode({"TreeDump": {"events": 7, "last_event_id": 1}}),
        msgspec.msgpack.encode({"data": {"token_ids": [1]}}),
    ],
)
def test_an_answer_of_no_use_raises_and_live_events_go_on_at_last(item: bytes) -> None:
    bench = Bench()
    bench.live(store(5, 5))
    again = True
    for _ in range(MAX_FAILURES):
        assert again and bench.feed.ask() is not None
        with pytest.raises(MalformedEvent):
            bench.feed.answer(item, "msgpack")
        again = bench.feed.fail()
    assert not again
    assert bench.feed.state is State.LIVE and bench.index.held == {5}
    bench.live(store(6, 6))
    assert bench.index.held == {5, 6}


def test_answers_in_json_are_read_as_well() -> None:
    bench = Bench()
    bench.feed.ask()
    item = msgspec.json.encode({"TreeDump": {"events": [store(1, 1 << 63)], "last_event_id": 3}})
    bench.feed.answer(item, "json")
    assert not bench.feed.apply(5)
    assert bench.index.held == {1 << 63} and bench.feed.last == 3


@given(lost=st.sets(st.integers(1, 60)), order=st.randoms(use_true_random=False), remembered=st.integers(0, 60))
def test_whatever_is_lost_the_index_ends_as_the_worker_says(lost: set[int], order: Any, remembered: int) -> None:
    """Messages are lost, and answers take a random while; the worker remembers only so many events."""
    said = [store(number, number) if number % 4 else remove(number, number - 1) for number in range(1, 61)]

    def answer(bench: Bench, newest: int) -> None:
        query = bench.feed.ask()
        assert query is not None
        start = query.start_event_id
        if start is None or start <= newest - remembered:
            blocks = sorted(truth(newest))
            dump = [store(index + 1, block) for index, block in enumerate(blocks)]
            data: Any = {"TreeDump": {"events": dump, "last_event_id": newest}}
        elif start > newest:
            data = {"TooNew": {"requested_start": start, "requested_end": newest, "newest_available": newest}}
        else:
            data = {"Events": {"events": said[start - 1 : newest], "last_event_id": newest}}
        bench.feed.answer(msgspec.msgpack.encode(data), "msgpack")
        while bench.feed.apply(3):
            pass

    def truth(newest: int) -> set[int]:
        held: set[int] = set()
        for number in range(1, newest + 1):
            held = held | {number} if number % 4 else held - {number - 1}
        return held

    bench = Bench()
    for number in range(1, 61):
        if number not in lost:
            bench.live(said[number - 1])
        if bench.feed.wanted and order.random() < 0.5:
            answer(bench, number)
    bench.feed.joined()
    while bench.feed.wanted:
        answer(bench, 60)
    assert bench.index.held == truth(60)
    assert (bench.feed.last, bench.feed.state) == (60, State.LIVE)


@given(st.binary(max_size=200))
def test_no_payload_hurts(payload: bytes) -> None:
    bench = live_bench(last=0)
    bench.feed.take(payload)
    bench.live(store(bench.feed.last or 0, 1))


leaves = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary()
shapes = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
names = st.sampled_from(["worker_id", "storage_tier", "residency_domain", "event", "event_id", "data", "dp_rank"])


@given(st.lists(st.tuples(names, shapes), max_size=4), shapes)
def test_no_shape_of_event_hurts(changes: list[tuple[str, Any]], data: Any) -> None:
    bench = live_bench(last=0)
    whole = store(1, 1)
    whole["event"]["data"] = data
    for name, value in changes:
        (whole if name in whole else whole["event"])[name] = value
        if not isinstance(whole["event"], dict):
            break
    bench.live(store(1, 1), whole)
    bench.live(store(2, 2))
    while bench.feed.wanted:
        bench.answered("TooNew", requested_start=1, requested_end=1, newest_available=bench.feed.last or 0)
