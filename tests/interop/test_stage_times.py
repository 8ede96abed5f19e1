"""Where the time of a request goes, by stage and on the request plane, under the original's names."""

from __future__ import annotations

import asyncio
import re

from tests.support.cluster import Cluster
from tests.support.verdicts import chat, http

WORKER_SECS = 0.3


async def test_the_stages_of_a_chat_request(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.scripted_worker, "tiny")
    frontend = await asyncio.to_thread(cluster.frontend, "tiny")
    worker.say(
        [{"!sleep": WORKER_SECS}, worker.held, {"token_ids": [272]}, {"token_ids": [273], "finish_reason": "stop"}]
    )
    async with http(frontend.url) as client:
        running = asyncio.create_task(chat(client, True, model="tiny"))
        await asyncio.to_thread(worker.wait_for, 1)
        during = (await client.get("/metrics")).text
        worker.let_go()
        assert (await running).status == 200
        page = (await client.get("/metrics")).text
    assert "\ndynamo_request_plane_inflight_requests 1\n" in during
    assert "\ndynamo_request_plane_inflight_requests 0\n" in page
    name = "dynamo_frontend_stage_duration_seconds"
    counts = dict(re.findall(rf'^{name}_count{{stage="(.*)"}} (\d+)$', page, re.MULTILINE))
    assert counts == {"preprocess": "1", "route": "1", "transport_roundtrip": "1"}
    for waited in (rf'{name}_sum{{stage="transport_roundtrip"}}', "dynamo_request_plane_roundtrip_ttft_seconds_sum"):
        found = re.search(rf"^{waited} (.*)$", page, re.MULTILINE)
        assert found is not None and float(found[1]) >= WORKER_SECS
    up = [
        re.findall(r'^dynamo_component_uptime_seconds{worker_id="(\w+)"} (.*)$', at, re.MULTILINE)
        for at in (during, page)
    ]
    assert len(up[0]) == len(up[1]) == 1 and up[0][0][0] == up[1][0][0] and float(up[0][0][1]) < float(up[1][0][1])
    assert "\ndynamo_request_plane_send_seconds_count 1\n" in page
