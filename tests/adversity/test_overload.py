"""Twice the load that the workers can carry: who is let in is served fast, the others are told at once to come back.

DYN_FE_ADVERSITY_OVERLOAD_SECS=60 for the long run.
"""

from __future__ import annotations

import asyncio
import os
import re
import time

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.verdicts import HELLO, Tally, Verdict, answering, chat, http

PLACES = 8
TOKENS = 30
# Half a second an answer: 16 a second.
WORKER = ("--max-concurrency", str(PLACES), "--decode-tokens-per-sec", "60", "--prefill-tokens-per-sec", "100000")
PER_SEC = 16
OVERLOAD_SECS = int(os.environ.get("DYN_FE_ADVERSITY_OVERLOAD_SECS", "12"))


async def load(client: httpx.AsyncClient, per_sec: float, secs: float) -> Tally:
    """Requests at an even pace, whatever becomes of them."""
    began = time.monotonic()
    tasks: list[asyncio.Task[Verdict]] = []
    while (now := time.monotonic() - began) < secs:
        while len(tasks) <= now * per_sec:
            tasks.append(asyncio.create_task(chat(client, True, max_tokens=TOKENS, ignore_eos=True)))
        await asyncio.sleep(0.01)
    return Tally(list(await asyncio.gather(*tasks)))


def share_within(page: str, name: str, edge_secs: str) -> float:
    """The share of what a histogram of the model counted that is at or below one of its edges."""
    counts = dict(re.findall(rf'^{name}_bucket{{model="mock",le="([^"]+)"}} (\S+)$', page, re.MULTILINE))
    return float(counts[edge_secs]) / float(counts["+Inf"])


@pytest.mark.timeout(120 + 2 * OVERLOAD_SECS)
@pytest.mark.parametrize("capacity_factor", ["2", "0"])
async def test_twice_the_load(cluster: Cluster, capacity_factor: str) -> None:
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    variables = {"DYN_FE_CAPACITY_FACTOR": capacity_factor}
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
    async with http(frontend.url) as client:
        tally = await load(client, 2 * PER_SEC, OVERLOAD_SECS)
        after = await load(client, PER_SEC / 4, 5)
        page = (await client.get("/metrics")).text
    admitted = [verdict for verdict in tally.verdicts if verdict.whole]
    refused = [verdict for verdict in tally.verdicts if verdict.status == 503]
    print(
        f"factor {capacity_factor}: {len(admitted)} served, {len(refused)} refused, first token p50 "
        f"{tally.first_token_secs(0.5):.2f} s, p99 {tally.first_token_secs(0.99):.2f} s; afterwards "
        f"{dict(after.statuses)}, p99 {after.first_token_secs(0.99):.2f} s"
    )
    assert tally.broken == []
    assert len(admitted) + len(refused) == len(tally.verdicts)
    # The workers were kept busy, and nobody waited long: by the frontend's clock, since on a busy machine it is the
    # client here that is late.
    assert len(admitted) > 0.8 * PER_SEC * OVERLOAD_SECS
    assert share_within(page, "dynamo_frontend_time_to_first_token_seconds", "4.7") >= 0.99
    # Normal again: what came within the last seconds was served.
    assert all(verdict.whole for verdict in after.verdicts[len(after.verdicts) // 2 :])
    assert 'dynamo_fe_admission_refusals_total{bound="workers"} ' in page


async def test_a_burst_on_idle_workers_is_let_in(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "200")
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with http(frontend.url) as client:
        tally = Tally(list(await asyncio.gather(*(chat(client, True, max_tokens=10) for _ in range(200)))))
    assert set(tally.statuses) == {200} and tally.broken == []


async def test_one_silent_worker_takes_few_requests_from_the_others(cluster: Cluster) -> None:
    silent = ("--fail-every", "1", "--fail-kind", "no-callback")
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "200", *silent)
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "200")
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with http(frontend.url, timeout_secs=6) as client:
        tally = await load(client, 40, 5)
        page = (await client.get("/metrics")).text
    # Those that went there in the second in which it was not known wait for its call-back.
    hung = [verdict for verdict in tally.verdicts if verdict.status == 0]
    assert len(hung) <= 28
    assert all(verdict.whole for verdict in tally.verdicts if verdict.status)
    assert 'dynamo_fe_admission_refusals_total{bound="workers"} 0' in page


async def test_a_bound_on_all_requests(cluster: Cluster) -> None:
    pace = ("--decode-tokens-per-sec", "20", "--prefill-tokens-per-sec", "0")
    worker = await asyncio.to_thread(cluster.mock_worker, *pace)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment={"DYN_FE_MAX_REQUESTS": "4"})
    async with http(frontend.url) as client:
        running = asyncio.gather(*(chat(client, True, max_tokens=100, ignore_eos=True) for _ in range(4)))
        await answering(client, 4)
        with worker.paused():
            refused = await client.post("/v1/chat/completions", json={"model": "mock", "messages": HELLO})
        assert all(verdict.whole for verdict in await running)
        assert (await chat(client, False, max_tokens=4)).whole
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert "capacity" in refused.json()["error"]["message"]
