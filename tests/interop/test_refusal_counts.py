"""How refused requests are counted, beside the original's own counts of the same requests."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx

from tests.support.cluster import Cluster
from tests.support.verdicts import http

COUNTED = re.compile(
    r"^dynamo_frontend_(requests_started_total|requests_total|failures_total|model_rejection_total)\{(.*)\} (.*)$",
    re.MULTILINE,
)
WRONG: list[dict[str, Any]] = [
    {"temperature": 9},
    {"zork": 1},
    {"n": 0},
    {"max_tokens": 0},
    {"stream_options": {"include_usage": True}},
    {"stream": True, "top_p": 9},
]


async def counts(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    page = (await client.get("/metrics")).text
    found = ((name, sorted(labels.split(",")), float(value)) for name, labels, value in COUNTED.findall(page))
    return {(name, *labels): value for name, labels, value in found if value}


async def test_refused_for_their_fields(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.scripted_worker, "tiny")
    seen = []
    for start in (cluster.frontend, cluster.real_frontend):
        frontend = await asyncio.to_thread(start, "tiny")
        async with http(frontend.url) as client:
            for fields in (*WRONG, {"model": "zork", "n": 0}, {"model": "zork"}):
                for path, prompt in (
                    ("completions", {"prompt": "hi"}),
                    ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
                ):
                    answer = await client.post(f"/v1/{path}", json={"model": "tiny", **prompt, **fields})
                    assert answer.status_code in (400, 404)
            empty = await client.post("/v1/completions", json={"model": "tiny", "prompt": ""})
            assert empty.status_code == 400
            seen.append(await counts(client))
    assert seen[0] == seen[1]


async def test_refused_because_all_are_busy(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.scripted_worker, "tiny", runtime_config={"total_kv_blocks": 10})
    arguments = ["--router-mode", "kv", "--no-router-kv-events", "--active-decode-blocks-threshold", "0.1"]
    long = [{"role": "user", "content": "hello world " * 60}]
    seen = []
    for start in (cluster.frontend, cluster.real_frontend):
        frontend = await asyncio.to_thread(start, "tiny", arguments=arguments)
        worker.forget()
        worker.say([{"token_ids": [275]}, worker.held, {"token_ids": [275], "finish_reason": "length"}])
        async with http(frontend.url) as client:
            body = {"model": "tiny", "messages": long}
            busy = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            await asyncio.to_thread(worker.wait_for, 1)
            for stream in (False, True):
                refused = await client.post("/v1/chat/completions", json=body | {"stream": stream})
                assert refused.status_code == 529
            worker.let_go()
            assert (await busy).status_code == 200
            seen.append(await counts(client))
    assert seen[0] == seen[1]
