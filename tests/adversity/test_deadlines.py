"""Every stage of a request has a deadline of its own, all together have one, and each miss is counted by its stage."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.verdicts import chat, http

# far from every deadline's default, and from what a busy machine adds
MOST_SECS = 20
FAST = ("--decode-tokens-per-sec", "5000", "--prefill-tokens-per-sec", "100000")
SLOW = ("--decode-tokens-per-sec", "20", "--context-length", "1000000")


async def misses(frontend: Frontend) -> dict[str, int]:
    """Of each stage, as /metrics tells; checks that nothing is past its deadline."""
    async with http(frontend.url) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    assert "dynamo_fe_requests_past_deadline 0" in lines
    found = {}
    for line in lines:
        if line.startswith("dynamo_fe_deadline_misses_total{"):
            found[line.split('"')[1]] = int(line.rsplit(" ", 1)[1])
    return found


@pytest.mark.parametrize(
    ("kind", "variable", "stage"),
    [
        ("no-callback", "DYN_FE_CALLBACK_TIMEOUT_SECS", "callback"),
        ("no-callback", "DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS", "callback"),
        ("stall", "DYN_FE_ITEM_TIMEOUT_SECS", "item"),
        ("stall", "DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS", "item"),
        ("stall", "DYN_FE_REQUEST_TIMEOUT_SECS", "total"),
        ("no-callback", "DYN_FE_REQUEST_TIMEOUT_SECS", "total"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_silent_worker(cluster: Cluster, kind: str, variable: str, stage: str, stream: bool) -> None:
    await asyncio.to_thread(cluster.mock_worker, *FAST, "--fail-every", "1", "--fail-kind", kind)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment={variable: "0.7"})
    request_id = str(uuid.uuid4())
    async with http(frontend.url) as client:
        verdict = await chat(client, stream, request_id, max_tokens=8)
    assert (verdict.status, verdict.broken) == (504, "")
    assert 0.5 < verdict.secs < MOST_SECS
    assert await misses(frontend) == {stage: 1}
    ends = [line for line in frontend.process.output().splitlines() if f"request {request_id} ends with 504: " in line]
    assert len(ends) == 1 and "WARNING" in ends[0]


async def test_a_request_that_is_answered_all_the_time_ends_too(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *SLOW)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment={"DYN_FE_REQUEST_TIMEOUT_SECS": "3"})
    async with http(frontend.url) as client:
        endless = asyncio.gather(*(chat(client, True, max_tokens=100000, ignore_eos=True) for _ in range(3)))
        short = await chat(client, True, max_tokens=4, ignore_eos=True)
        verdicts = await endless
    assert short.whole
    assert {(verdict.status, verdict.broken) for verdict in verdicts} == {(504, "")}
    assert all(2.5 < verdict.secs < MOST_SECS for verdict in verdicts)
    assert await misses(frontend) == {"total": 3}
    await asyncio.to_thread(worker.wait_for_output, "kill")


async def test_another_worker_is_tried_within_the_whole_deadline(cluster: Cluster) -> None:
    for _ in range(3):
        await asyncio.to_thread(cluster.mock_worker, *FAST, "--fail-every", "1", "--fail-kind", "no-callback")
    variables = {"DYN_FE_CALLBACK_TIMEOUT_SECS": "2", "DYN_FE_REQUEST_TIMEOUT_SECS": "5.5"}
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
    async with http(frontend.url) as client:
        verdict = await chat(client, False)
    assert verdict.status == 504 and 5 < verdict.secs < MOST_SECS
    assert await misses(frontend) == {"callback": 2, "total": 1}
