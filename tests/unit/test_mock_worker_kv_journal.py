"""A mock worker's KV events: what is published, and what is answered to those who missed some."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe.protocol.events import RouterEvent, encode
from dynamo_fe.protocol.kv_recovery import RecoveryQuery, answer_value
from dynamo_fe.workers.kv_blocks import KvBlocks
from dynamo_fe.workers.kv_journal import KvJournal

WORKER, RANK, BLOCK = 77, 1, 4


def journal(blocks: int = 8, kept_events: int = 100) -> KvJournal:
    return KvJournal(WORKER, RANK, KvBlocks(blocks, BLOCK), kept_events)


def run(target: KvJournal, prompt: list[int]) -> list[RouterEvent]:
    """A prompt comes and goes; the events of it."""
    held = target.blocks.acquire(prompt)
    assert held is not None
    target.blocks.release(held)
    return target.take()


def plain(event: RouterEvent) -> Any:
    return msgspec.msgpack.decode(encode(event))


def ask(target: KvJournal, start: int | None, end: int | None = None, worker: int = WORKER, rank: int = RANK) -> Any:
    answer = target.answer(RecoveryQuery(worker, rank, start, end))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer_value(answer)))


def held(events: list[Any]) -> set[int]:
    """What a listener would think is there."""
    found: set[int] = set()
    for event in events:
        data = event["event"]["data"]
        if "stored" in data:
            parent = data["stored"]["parent_hash"]
            assert parent is None or parent in found, "a block without the one before it"
            found.update(block["block_hash"] for block in data["stored"]["blocks"])
        else:
            found.difference_update(data["removed"]["block_hashes"])
    return found


def test_a_prompt_is_stored_with_the_hashes_that_routers_compute() -> None:
    prompt = list(range(10))
    [event] = run(journal(), prompt)
    local = local_hashes(prompt, BLOCK)
    chain = sequence_hashes(local)
    assert plain(event) == {
        "worker_id": WORKER,
        "storage_tier": "device",
        "residency_domain": "worker",
        "event": {
            "event_id": 1,
            "data": {
                "stored": {
                    "parent_hash": None,
                    "start_position": None,
                    "blocks": [
                        {"block_hash": chain[at], "tokens_hash": local[at], "mm_extra_info": None} for at in (0, 1)
                    ],
                }
            },
            "dp_rank": RANK,
        },
    }


def test_only_what_is_new_is_stored_after_what_is_known() -> None:
    target = journal()
    run(target, list(range(8)))
    [event] = run(target, [*range(8), 50, 51, 52, 53])
    chain = sequence_hashes(local_hashes([*range(8), 50, 51, 52, 53], BLOCK))
    data = plain(event)["event"]
    assert (data["event_id"], data["data"]["stored"]["parent_hash"]) == (2, chain[1])
    assert [block["block_hash"] for block in data["data"]["stored"]["blocks"]] == [chain[2]]
    assert run(target, list(range(8))) == []


def test_eviction_is_told_before_what_takes_its_room_and_ends_first() -> None:
    target = journal(blocks=3)
    run(target, list(range(12)))
    removed, stored = run(target, [*range(100, 108)])
    chain = sequence_hashes(local_hashes(list(range(12)), BLOCK))
    assert plain(removed)["event"]["data"] == {"removed": {"block_hashes": [chain[2], chain[1]]}}
    assert plain(stored)["event"]["event_id"] == 3


def test_a_listener_of_all_events_knows_what_a_dump_says() -> None:
    target = journal(blocks=6)
    told: list[Any] = []
    for number in range(40):
        told += [plain(event) for event in run(target, [*range(4), *range(number % 7, number % 7 + 9)])]
    dump = ask(target, None)["TreeDump"]
    assert held(told) == held(dump["events"]) != set()
    assert dump["last_event_id"] == told[-1]["event"]["event_id"] == len(told)
    assert [event["event"]["event_id"] for event in dump["events"]] == list(range(1, len(dump["events"]) + 1))
    assert dump["reset_scope"] == "all"


def test_missed_events_are_given_again_while_they_are_kept() -> None:
    target = journal(blocks=2, kept_events=3)
    told = [plain(event) for number in range(5) for event in run(target, [number * 10 + at for at in range(4)])]
    assert len(told) == 8
    assert ask(target, 7)["Events"] == {"events": told[6:], "last_event_id": 8}
    assert ask(target, 6, end=6)["Events"]["events"] == told[5:], "the end has no effect"
    assert "TreeDump" in ask(target, 5), "no longer kept"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ((3, 2), {"InvalidRange": {"start_id": 3, "end_id": 2}}),
        ((100, None), {"TooNew": {"requested_start": 100, "requested_end": 0, "newest_available": 0}}),
        (
            (None, None, 1),
            {"Error": "WorkerKvQueryEngine::generate worker_id mismatch: request.worker_id=1 this.worker_id=77"},
        ),
        (
            (None, None, WORKER, 5),
            {"Error": "WorkerKvQueryEngine::generate dp_rank mismatch: request.dp_rank=5 this.dp_rank=1"},
        ),
    ],
)
def test_what_cannot_be_answered_is_said_as_a_real_worker_does(question: tuple[Any, ...], answer: Any) -> None:
    assert ask(journal(), *question) == answer
