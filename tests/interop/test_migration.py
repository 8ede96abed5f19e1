"""Real workers die in mid-stream: one unbroken answer, and the next worker is asked for exactly the rest of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.peer import ScriptedWorker
from tests.support.verdicts import chat, http

SAID = [[272], [273, 274], [275]]
REST = [[276], [277, 278]]
FINISH = {"token_ids": [], "finish_reason": "stop"}


def items(tokens: list[list[int]]) -> list[dict[str, Any]]:
    return [{"token_ids": ids} for ids in tokens]


async def pair(cluster: Cluster) -> list[ScriptedWorker]:
    """Two real workers of one model."""
    workers = []
    for number in range(2):
        worker = await asyncio.to_thread(cluster.scripted_worker, "tiny", control=f"tiny-{number}")
        workers.append(worker)
    return workers


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ({"!die": 9}, True),
        ({"!raise": ["EngineShutdown", "bye"]}, True),
        ({"!raise": ["Disconnected", "gone"]}, True),
        ({"!raise": ["WorkerUnavailable", "no"]}, True),
        ({"!raise": ["ConnectionTimeout", "late"]}, True),
        ({"!raise": ["InvalidArgument", "bad"]}, False),
        ({"!raise": "boom"}, False),
        ({"!http": [503, "busy"]}, False),
    ],
    ids=str,
)
async def test_what_moves_and_what_is_asked(cluster: Cluster, last: dict[str, Any], expected: bool) -> None:
    first, second = await pair(cluster)
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    async with http(frontend.url) as client:
        fields: dict[str, Any] = {"model": "tiny", "max_tokens": 20, "min_tokens": 5}
        for worker in (first, second):
            worker.say([*items(SAID + REST), FINISH])
        whole = await chat(client, False, **fields)
        for worker in (first, second):
            worker.forget()
            worker.say({"scripts": [[*items(SAID), worker.held, last]]})
        broken = asyncio.create_task(
            chat(client, True, stream_options={"include_usage": True}, ignore_eos=True, **fields)
        )
        await asyncio.to_thread(first.process.wait_until, lambda: first.requests() or second.requests(), "a request")
        asked, other = (first, second) if first.requests() else (second, first)
        other.say([*items(REST), FINISH])
        asked.let_go()
        verdict = await broken
    before = asked.requests()[0]
    if not expected:
        assert verdict.status in (400, 500, 503) and other.requests() == []
        return
    assert verdict.broken == ""
    after = other.requests()[0]
    assert (verdict.status, verdict.text, verdict.tokens) == (200, whole.text, 7)
    assert after["id"] == before["id"]
    assert after["request"]["token_ids"] == [*before["request"]["token_ids"], *(id for ids in SAID for id in ids)]
    limits = after["request"]["stop_conditions"]
    assert (limits["max_tokens"], limits["min_tokens"]) == (16, 1)
    changed = {key for key, value in after["request"].items() if value != before["request"][key]}
    assert changed == {"token_ids", "stop_conditions"}


@pytest.mark.parametrize("fields", [{"n": 2}, {"guided_regex": "a*"}])
async def test_what_never_moves(cluster: Cluster, fields: dict[str, Any]) -> None:
    workers = await pair(cluster)
    for worker in workers:
        worker.say([*items(SAID), {"!sleep": 0.1}, {"!raise": ["EngineShutdown", "bye"]}])
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    async with http(frontend.url) as client:
        verdict = await chat(client, True, model="tiny", **fields)
    assert (verdict.status, verdict.broken) == (503, "")
    assert sum(len(worker.requests()) for worker in workers) == 1


async def test_a_sequence_too_long_to_move(cluster: Cluster) -> None:
    workers = await pair(cluster)
    for worker in workers:
        worker.say([*items(SAID), {"!sleep": 0.1}, {"!raise": ["EngineShutdown", "bye"]}])
    frontend = await asyncio.to_thread(cluster.frontend, "tiny", arguments=["--migration-max-seq-len", "6"])
    async with http(frontend.url) as client:
        verdict = await chat(client, True, model="tiny")
        page = (await client.get("/metrics")).text
    assert (verdict.status, verdict.broken) == (503, "")
    assert 'dynamo_frontend_model_migration_max_seq_len_exceeded_total{model="tiny"} 1' in page
    assert 'model_migration_total{model="tiny",migration_type="ongoing_request"} 1' in page
    assert 'dynamo_frontend_model_migration_limit{model="tiny"} 0' in page
