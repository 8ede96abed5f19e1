"""What a request costs in the gateway is told apart from what its worker takes."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.cluster import Cluster
from tests.support.verdicts import chat, http

WORKER_SECS = 0.6
FAMILY = r"dynamo_fe_gateway_overhead_seconds"


@pytest.mark.parametrize("stream", [False, True])
async def test_waiting_for_a_worker_is_no_overhead(cluster: Cluster, stream: bool) -> None:
    worker = await asyncio.to_thread(cluster.scripted_worker, "tiny")
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    # longer than a stream's head is held back
    worker.say([{"!sleep": WORKER_SECS}, {"token_ids": [272]}, {"token_ids": [273], "finish_reason": "stop"}])
    async with http(frontend.url) as client:
        short = await chat(client, stream, model="tiny")
        long = await chat(client, stream, model="tiny", messages=[{"role": "user", "content": "hello " * 1500}])
        refused = await chat(client, stream, model="tiny", temperature=9)
        page = (await client.get("/metrics")).text
    assert [short.status, long.status, refused.status] == [200, 200, 400]
    counts = dict(re.findall(rf'^{FAMILY}_count{{prompt_tokens="(.*)"}} (\d+)$', page, re.MULTILINE))
    assert counts["<=128"] == "1" and sum(map(int, counts.values())) == 2 and len(counts) == 2
    overhead_secs = [float(value) for value in re.findall(rf"^{FAMILY}_sum\{{.*\}} (.*)$", page, re.MULTILINE)]
    assert all(value > 0 for value in overhead_secs)
    lasted = re.search(r'^dynamo_frontend_request_duration_seconds_sum{model="tiny"} (.*)$', page, re.MULTILINE)
    assert lasted is not None
    assert sum(overhead_secs) <= float(lasted[1]) - 2 * WORKER_SECS
