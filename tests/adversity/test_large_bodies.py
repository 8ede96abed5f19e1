"""Many large bodies at once: each gets a typed answer, memory stays within its bound, streams beside them are whole.

DYN_FE_ADVERSITY_BODIES=50 for the long run.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.bench import process_tree
from tests.bench.large_bodies import SHAPES, body_of
from tests.support.cluster import Cluster
from tests.support.process_costs import resident_mib
from tests.support.raw_http import exchange, post
from tests.support.verdicts import chat, http

BODIES = int(os.environ.get("DYN_FE_ADVERSITY_BODIES", "16"))
BODY_BYTES = 40 << 20
MOST_MIB = 700
PATIENCE_SECS = 120.0


@pytest.mark.timeout(300 + 3 * BODIES)
@pytest.mark.parametrize("shape", SHAPES)
async def test_many_large_bodies_at_once(cluster: Cluster, shape: str) -> None:
    # its card has no context length, so that nothing is refused for that
    await asyncio.to_thread(cluster.mocker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    path, body = body_of(shape, BODY_BYTES)
    request = post(path, body, b"connection: close")
    over = asyncio.Event()
    async with http(frontend.url) as client:
        assert (await chat(client, True, max_tokens=4)).whole

        async def stream() -> int:
            count = 0
            while not over.is_set():
                assert (await chat(client, True, max_tokens=20)).whole
                count += 1
            return count

        before = resident_mib(frontend)
        streams = asyncio.gather(*(stream() for _ in range(4)))
        with ThreadPoolExecutor(BODIES) as threads:
            ask = partial(exchange, frontend.port, timeout_secs=PATIENCE_SECS)
            answers = await asyncio.to_thread(list, threads.map(ask, [[request]] * BODIES))
        over.set()
        assert min(await streams) > 0
    peak = sum(map(process_tree.peak_rss_mb, process_tree.descendants(frontend.process.pid)))
    print(f"{shape}: {[answer.status for answer in answers]}, peak {peak:.0f} MiB, {before:.0f} before")
    refused = {"text": 400, "ids": 413, "objects": 413}[shape]
    assert {answer.status for answer in answers} <= {refused, 503}
    assert sum(answer.status == refused for answer in answers) >= 6
    assert all(answer.json()["error"]["message"] for answer in answers)
    assert peak < MOST_MIB
    async with asyncio.timeout(PATIENCE_SECS):
        while resident_mib(frontend) > before + 100:
            await asyncio.sleep(0.2)
