"""Workers are killed, stopped and started under load: nothing hangs, next to nothing fails, every end has a type.

DYN_FE_CHURN_REQUESTS=20000 for the long run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import Process
from tests.support.verdicts import Tally, answering, chat, http

REQUESTS = int(os.environ.get("DYN_FE_CHURN_REQUESTS", "2500"))
PAST_DEADLINE = re.compile(r"^dynamo_fe_requests_past_deadline (.*)$", re.MULTILINE)
LANES = 24
TOKENS = 40
WORKERS = 4
PACE = ("--decode-tokens-per-sec", "120", "--prefill-tokens-per-sec", "100000")
# A stopped worker is found out by its silence, which must be shorter than the patience of the test.
SHORT = {
    "DYN_TCP_CONNECT_TIMEOUT": "1",
    "DYN_TCP_REQUEST_TIMEOUT": "1",
    "DYN_FE_CALLBACK_TIMEOUT_SECS": "2",
    "DYN_FE_PROLOGUE_TIMEOUT_SECS": "2",
    "DYN_FE_FIRST_ITEM_TIMEOUT_SECS": "2",
    "DYN_FE_ITEM_TIMEOUT_SECS": "2",
    "DYN_FE_REQUEST_TIMEOUT_SECS": "30",
    "DYN_LOG": "error",
}


class Chaos:
    """Kills, stops and starts workers at random, but leaves two that run."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._running: list[Process] = []
        self.done = {"kill": 0, "stop": 0}

    async def add(self) -> None:
        self._running.append(await asyncio.to_thread(self._cluster.mock_worker, *PACE))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.3, 0.8))
            worker = self._running.pop(self._random.randrange(len(self._running)))
            if self._random.random() < 0.6:
                worker.kill()
                self.done["kill"] += 1
                await self.add()
            else:
                worker.send_signal(signal.SIGSTOP)
                self.done["stop"] += 1
                try:
                    await asyncio.sleep(self._random.uniform(1, 4))
                finally:
                    worker.send_signal(signal.SIGCONT)
                self._running.append(worker)


@pytest.mark.timeout(120 + REQUESTS // 20)
async def test_churn(cluster: Cluster) -> None:
    chaos = Chaos(cluster, seed=1)
    for _ in range(WORKERS):
        await chaos.add()
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
    tally = Tally()
    left = iter(range(REQUESTS))
    async with http(frontend.url, timeout_secs=40) as client:
        expected = await chat(client, stream=False, max_tokens=TOKENS, ignore_eos=True)

        async def lane() -> None:
            for number in left:
                tally.verdicts.append(await chat(client, bool(number % 4), max_tokens=TOKENS, ignore_eos=True))

        past_deadline: set[str] = set()

        async def watch() -> None:
            while True:
                past_deadline.update(PAST_DEADLINE.findall((await client.get("/metrics")).text))
                await asyncio.sleep(0.5)

        havoc, watching = asyncio.create_task(chaos.run()), asyncio.create_task(watch())
        await asyncio.gather(*(lane() for _ in range(LANES)))
        havoc.cancel()
        watching.cancel()
        await asyncio.gather(havoc, watching, return_exceptions=True)
        page = ""
        async with asyncio.timeout(30):
            while not ("dynamo_fe_requests_in_hand 0\n" in page and "dynamo_fe_streams 0\n" in page):
                page = (await client.get("/metrics")).text
    failed = [verdict for verdict in tally.verdicts if not verdict.whole]
    print(f"{len(tally.verdicts)} requests, {chaos.done}, statuses {dict(tally.statuses)}, {len(failed)} failed, "
          f"slowest {tally.slowest_secs():.1f} s")  # fmt: skip
    assert tally.broken == []
    assert chaos.done["kill"] >= 3 and chaos.done["stop"] >= 3
    assert len(failed) <= max(REQUESTS / 1000, 1)
    # an answer that moved is the same answer
    assert {verdict.text for verdict in tally.verdicts if verdict.whole} == {expected.text}
    assert past_deadline == {"0"}
    assert "dynamo_fe_requests_past_deadline 0" in page
    assert 'model_migration_total{model="mock",migration_type="ongoing_request"}' in page


@pytest.mark.parametrize("limit", ["3", "0"])
async def test_a_killed_worker_in_mid_stream(cluster: Cluster, limit: str) -> None:
    workers = [await asyncio.to_thread(cluster.mock_worker, *PACE) for _ in range(2)]
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--migration-limit", limit])
    async with http(frontend.url) as client:
        fields = {"max_tokens": 400, "ignore_eos": True, "stream_options": {"include_usage": True}}
        expected = await chat(client, stream=True, **fields)
        streams = asyncio.gather(*(chat(client, stream=True, **fields) for _ in range(6)))
        await answering(client, 6)
        workers[0].kill()
        verdicts = await streams
    assert [verdict.broken for verdict in verdicts if verdict.broken] == []
    if limit == "0":
        assert sorted(verdict.status for verdict in verdicts) == [200] * 3 + [503] * 3
        return
    assert {verdict.status for verdict in verdicts} == {200}
    # Text, count of tokens and prompt are those of an answer that nothing broke.
    assert {(verdict.text, verdict.tokens) for verdict in verdicts} == {(expected.text, 400)}
