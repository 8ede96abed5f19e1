"""At the level `debug` an operator sees how each request was answered, by our id and by the client's own."""

from __future__ import annotations

import asyncio
import contextlib
import re

import httpx

from tests.support.cluster import Cluster
from tests.support.verdicts import http

OURS = "7c5f0a52-0d0f-4f07-8b4e-0a2f51a9d3c1"
# connects in its own time, then waits for half a second
BRIEF = httpx.Timeout(30, read=0.5)
BODY = {"model": "mock", "messages": [{"role": "user", "content": "wombat"}], "max_tokens": 3}


def lines(output: str, marker: str) -> list[str]:
    return [line for line in output.splitlines() if "dynamo_fe.http.access[" in line and marker in line]


async def test_each_request_is_told_with_its_ids_and_its_end(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "20")
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment={"DYN_LOG": "debug"})
    async with http(frontend.url) as client:
        headers = {"x-dynamo-request-id": OURS.encode(), "x-request-id": b"mine\xe9"}
        await client.post("/v1/chat/completions", json=BODY, headers=headers)
        await client.post("/v1/chat/completions", json=BODY | {"temperature": 9}, headers={"x-request-id": "hot"})
        await client.get("/nowhere/wombat?wombat", headers={"x-request-id": "lost"})
        with contextlib.suppress(httpx.TimeoutException):
            slow = BODY | {"max_tokens": 1000}
            await client.post("/v1/chat/completions", json=slow, headers={"x-request-id": "brief"}, timeout=BRIEF)
    output = frontend.process.output
    frontend.process.wait_until(lambda: lines(output(), "'brief'"), "the line of the client that left")
    (answered,) = lines(output(), OURS)
    assert re.search(
        rf"request {OURS}: POST '/v1/chat/completions' answered with 200 after \d+\.\d ms, x-request-id 'mine\\xe9'$",
        answered,
    )
    assert "answered with 400" in lines(output(), "'hot'")[0]
    assert "request: GET '/nowhere/wombat' answered with 404" in lines(output(), "'lost'")[0]
    assert "not answered after" in lines(output(), "'brief'")[0] and "its client left" in lines(output(), "'brief'")[0]
    assert all("wombat" not in line or "/nowhere/wombat'" in line for line in output().splitlines())


async def test_no_request_is_told_of_unasked(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with http(frontend.url) as client:
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
    assert lines(frontend.process.output(), "") == []
