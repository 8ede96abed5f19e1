"""The log of a serving process, at its most talkative, over every way in which a request fails: each line about a
request names it, and none says what was asked.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.cluster import Cluster
from tests.support.processes import Process
from tests.support.verdicts import http

FAST = ("--decode-tokens-per-sec", "2000", "--prefill-tokens-per-sec", "0")
KINDS = ("error-first", "error-mid", "disconnect", "refuse", "stall", "no-callback", "garbage")
SECRET = "zebrafinch"
LONG = f"{SECRET} " * 600_000
ENVIRONMENT = {
    "DYN_FE_TOKENIZE_THREADS": "1",
    "DYN_LOG": "trace",
    "DYN_FE_CALLBACK_TIMEOUT_SECS": "0.5",
    "DYN_FE_ITEM_TIMEOUT_SECS": "0.5",
    "DYN_FE_REQUEST_TIMEOUT_SECS": "2",
    "DYN_RUNTIME_INHIBITED_DURATION_SECS": "0",
}
# the rooms whose lines are about requests; those below them speak of connections that many requests share
OF_REQUESTS = re.compile(r" dynamo_fe\.(http|pipeline|grpc)\[")
ENDS = re.compile(r"request (\S+) ends with (\d+): ")


@dataclass(frozen=True)
class Asked:
    """A request and the status it ended with; 0: the client went, or the stream broke off."""

    name: str
    request_id: str
    status: int


async def ask(client: httpx.AsyncClient, name: str, timeout_secs: float = 20.0, **fields: Any) -> Asked:
    request_id = str(uuid.uuid4())
    body = {"model": name, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 16, **fields}
    path = "/v1/chat/completions" if "prompt" not in fields else "/v1/completions"
    if "prompt" in fields:
        del body["messages"]
    try:
        answer = await client.post(path, json=body, headers={"x-dynamo-request-id": request_id}, timeout=timeout_secs)
    except httpx.HTTPError:
        return Asked(name, request_id, 0)
    return Asked(name, request_id, answer.status_code)


async def cut_off(client: httpx.AsyncClient, worker: Process) -> Asked:
    """A stream whose worker is killed when it has begun."""
    request_id = str(uuid.uuid4())
    body = {"model": "slow", "messages": [{"role": "user", "content": SECRET}], "stream": True}
    headers = {"x-dynamo-request-id": request_id}
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        parts = answer.aiter_bytes()
        await anext(parts)
        worker.kill()
        last = b"".join([part async for part in parts])
    assert b'"code":503' in last
    return Asked("killed", request_id, 503)


async def refused(client: httpx.AsyncClient) -> list[Asked]:
    """What a client does wrong."""
    messages = [{"role": "nobody", "content": SECRET}]
    return [
        await ask(client, "refuse", temperature=9),
        await ask(client, "refuse", messages=messages),
        await ask(client, SECRET),
        await ask(client, "refuse", prompt=[10**9]),
        await ask(client, "refuse", prompt=SECRET * 3, zork=SECRET),
        await ask(client, "refuse", nvext={"backend_instance_id": 5}),
        await ask(client, "refuse", tools=[{"type": "function", "function": {"name": SECRET + "!"}}]),
        await ask(client, "refuse", nvext={"token_data": []}, messages=[{"role": "assistant", "content": SECRET}]),
    ]


async def test_lines_name_their_request_and_never_what_it_says(cluster: Cluster) -> None:
    for kind in KINDS:
        await asyncio.to_thread(
            cluster.mock_worker, *FAST, "--model-name", kind, "--fail-every", "1", "--fail-kind", kind
        )
    slow = await asyncio.to_thread(
        cluster.mock_worker, "--model-name", "slow", "--decode-tokens-per-sec", "5", "--context-length", "100000000"
    )
    arguments = ["--migration-limit", "0", "--tokenizer", "default"]
    frontend = await asyncio.to_thread(cluster.frontend, *KINDS, "slow", arguments=arguments, environment=ENVIRONMENT)
    async with http(frontend.url) as client:
        asked = await refused(client)
        for stream in (False, True):
            asked += await asyncio.gather(*(ask(client, kind, stream=stream) for kind in KINDS))
        asked.append(await ask(client, "slow", timeout_secs=0.3, stream=True))
        # not done in time: some before a worker is asked, as one thread tokenizes, and one while it answers
        late = await asyncio.gather(*(ask(client, "slow", prompt=LONG) for _ in range(3)))
        late.append(await ask(client, "slow", max_tokens=100))
        killed = await cut_off(client, slow)
    output = frontend.process.output()
    assert SECRET not in output
    assert late[-1].status == late[-2].status == 504
    everybody = [*asked, *late, killed]
    ids = {request.request_id for request in everybody}
    strangers = [line for line in output.splitlines() if OF_REQUESTS.search(line) and not any(i in line for i in ids)]
    assert strangers == []
    ends = Counter((request_id, int(status)) for request_id, status in ENDS.findall(output))
    assert set(ends.values()) == {1}
    timely = {request.request_id for request in everybody if request.status == 504}
    assert {request_id for request_id, status in ends if status == 504} >= timely
    assert (killed.request_id, 503) in ends
