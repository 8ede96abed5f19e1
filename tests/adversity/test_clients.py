"""Clients that go, stall, dribble or talk nonsense: each costs little, none harms the others, nothing of it stays.

DYN_FE_ADVERSITY_STRIDE=1 cuts a request at every byte, the default at every third. For the long runs:
DYN_FE_ADVERSITY_READERS=500 of those that stall (a multiple of 10), DYN_FE_ADVERSITY_IDLE_SECS=600 of connections
that rest, DYN_FE_ADVERSITY_PROMPTS=768 in each round of a storm and DYN_FE_ADVERSITY_PROMPT_WORDS=8000 in each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.fault_proxy import Fault, FaultProxy, Harm
from tests.support.frontends import Frontend
from tests.support.process_costs import open_files, resident_mib, serving_cpu_secs
from tests.support.verdicts import HELLO, at_most, chat, http

STRIDE = int(os.environ.get("DYN_FE_ADVERSITY_STRIDE", "3"))
READERS = int(os.environ.get("DYN_FE_ADVERSITY_READERS", "200"))
IDLE_SECS = int(os.environ.get("DYN_FE_ADVERSITY_IDLE_SECS", "15"))
PROMPTS = int(os.environ.get("DYN_FE_ADVERSITY_PROMPTS", "300"))
PROMPT_WORDS = int(os.environ.get("DYN_FE_ADVERSITY_PROMPT_WORDS", "2700"))
WORKER = ("--decode-tokens-per-sec", "500", "--prefill-tokens-per-sec", "100000")
BODY = json.dumps({"model": "mock", "messages": HELLO, "max_tokens": 4, "stream": True}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY
SHORT = {"DYN_FE_HEAD_IDLE_TIMEOUT_SECS": "1", "DYN_FE_BODY_IDLE_TIMEOUT_SECS": "1"}


async def say(port: int, request: bytes, patience_secs: float = 15) -> bytes:
    """Everything that comes back until the other side closes; b"" after a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(patience_secs):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def settled(frontend: Frontend, files: int) -> str:
    """Waits until nothing is in hand and no file more is open than before; the page of metrics then."""
    async with asyncio.timeout(60):
        while True:
            async with http(frontend.url) as client:
                page = (await client.get("/metrics")).text
            idle = all(f"{name} 0\n" in page for name in ("dynamo_fe_requests_in_hand", "dynamo_fe_streams"))
            if idle and open_files(frontend) <= files + 4:
                return page
            await asyncio.sleep(0.1)


async def shown(client: httpx.AsyncClient, line: str) -> None:
    """Waits until the metrics have the line."""
    async with asyncio.timeout(60):
        while line not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("harm", [Harm.CLOSE, Harm.RESET, Harm.FREEZE, Harm.GARBAGE])
async def test_a_request_that_is_cut_at_every_byte(cluster: Cluster, harm: Harm) -> None:
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
    async with http(frontend.url) as client:
        assert (await chat(client, True)).whole
        files = open_files(frontend)
        cuts = range(0, len(REQUEST), STRIDE)
        async with FaultProxy(("127.0.0.1", frontend.port), lambda n: Fault(harm, cuts[n])) as bad:
            gate = asyncio.Semaphore(64)

            async def one() -> bytes:
                async with gate:
                    return await say(bad.port, REQUEST)

            answers = await asyncio.gather(*(one() for _ in cuts))
        # None of them is a whole request, so none is answered as one; what is answered says what was wrong.
        statuses = {answer.split(b" ", 2)[1] for answer in answers if answer}
        assert statuses <= {b"400", b"404", b"405", b"408", b"415"}
        assert (await chat(client, True)).whole
    assert "dynamo_fe_requests_past_deadline 0" in await settled(frontend, files)


async def test_an_answer_whose_client_goes_at_any_byte(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *WORKER)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    request = REQUEST.replace(b'"max_tokens": 4', b'"max_tokens": 9')
    async with http(frontend.url) as client:
        assert (await chat(client, True)).whole
        files = open_files(frontend)
        harms = [Fault(harm, cut, upstream=False) for cut in range(0, 2000, 50) for harm in (Harm.CLOSE, Harm.RESET)]
        async with FaultProxy(("127.0.0.1", frontend.port), lambda n: harms[n]) as bad:
            await asyncio.gather(*(say(bad.port, request) for _ in harms))
        assert (await chat(client, True)).whole
    await settled(frontend, files)
    assert worker.returncode is None


async def test_a_client_that_dribbles_is_served_however_slow(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
    # 3 s in the head and the body each, while an idle limit of 1 s stands
    fault = Fault(Harm.DRIBBLE, 0, pause_secs=0.02)
    async with FaultProxy(("127.0.0.1", frontend.port), lambda _: fault) as slow:
        answers = await asyncio.gather(*(say(slow.port, REQUEST, 60) for _ in range(8)))
    assert all(answer.startswith(b"HTTP/1.1 200") and b"[DONE]" in answer for answer in answers)


async def test_half_sent_requests_are_closed(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=SHORT)
    async with http(frontend.url) as client:
        assert (await chat(client, True)).whole
        files = open_files(frontend)
        halves = [REQUEST[: len(REQUEST) * part // 8] for part in range(8)] * 25
        silent = asyncio.gather(*(say(frontend.port, half) for half in halves))
        healthy = await at_most(8, [chat(client, True) for _ in range(40)])
        assert healthy.broken == [] and set(healthy.statuses) == {200}
        # Closed by the frontend: `say` would have given up after 15 s.
        await silent
    await settled(frontend, files)


@pytest.mark.timeout(120 + READERS)
async def test_stalled_readers_take_a_bounded_amount_each(cluster: Cluster) -> None:
    # 900 KB an answer: more than all that stands between a worker and a client may keep
    answer = ("--answer-tokens", "30000", "--tokens-per-item", "8", "--context-length", "100000")
    for _ in range(2):
        await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "4000", *answer)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    body = BODY.replace(b'"max_tokens": 4', b'"max_tokens": 30000, "ignore_eos": true')
    request = REQUEST.partition(b"content-length")[0] + b"content-length: %d\r\n\r\n" % len(body) + body
    async with http(frontend.url) as client:
        assert (await chat(client, True, max_tokens=4)).whole
        files, before = open_files(frontend), resident_mib(frontend)
        with contextlib.ExitStack() as stalled:
            for number in range(1, READERS + 1):
                connection = stalled.enter_context(socket.socket())
                # the smallest buffer, so that little is hidden in the kernel
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", frontend.port))
                connection.sendall(request)
                # few at a time: of many at once a busy machine's workers would be taken for full
                if number % 10 == 0:
                    await shown(client, f'dynamo_fe_plane{{what="streams_paused"}} {number}\n')
            grown = resident_mib(frontend) - before
            healthy = await chat(client, True, max_tokens=4)
        page = await settled(frontend, files)
    print(f"{READERS} stalled readers: {grown:.0f} MiB")
    assert healthy.whole
    # what a stream costs, and the buffers of the HTTP server; DYN_FE_STREAM_BUFFER_BYTES are the kernel's
    assert grown < READERS * 0.4
    assert 'dynamo_fe_bytes_buffered{towards="clients"} 0' in page


@pytest.mark.timeout(120 + PROMPTS)
async def test_memory_and_files_return_after_a_storm(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "2000", "--prefill-tokens-per-sec", "0")
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    prompt = "the quick brown fox jumps over the lazy dog " * (PROMPT_WORDS // 9)
    after: list[float] = []
    async with http(frontend.url) as client:
        assert (await chat(client, True)).whole
        files = open_files(frontend)
        for _ in range(5):
            messages = [{"role": "user", "content": prompt}]
            tally = await at_most(100, [chat(client, True, max_tokens=8, messages=messages) for _ in range(PROMPTS)])
            assert tally.broken == [] and set(tally.statuses) == {200}
            await settled(frontend, files + 80)
            after.append(resident_mib(frontend))
    await settled(frontend, files)
    print(f"resident after each round: {[round(size) for size in after]} MiB")
    assert max(after[1:]) < after[0] * 1.1 + 2


async def test_what_is_refused_or_fails_is_not_kept(cluster: Cluster) -> None:
    """Half a megabyte a request, 50 in a round: what held each other would be 25 MiB more after each."""
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    failing = ("--fail-every", "1", "--fail-kind", "error-first", "--context-length", "1000000")
    await asyncio.to_thread(cluster.mock_worker, "--model-name", "failing", *WORKER, *failing)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", "failing", environment={"DYN_FE_MAX_WAIT_SECS": "0"})
    prompt = "some words " * 45_000
    after: list[float] = []
    async with http(frontend.url) as client:

        async def ask(model: str) -> int:
            body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 4}
            return (await client.post("/v1/chat/completions", json=body)).status_code

        for _ in range(5):
            for model, statuses in (("mock", {400}), ("failing", {500, 503})):
                assert {await ask(model) for _ in range(50)} <= statuses
            await settled(frontend, open_files(frontend))
            after.append(resident_mib(frontend))
    print(f"resident after each round: {[round(size) for size in after]} MiB")
    assert after[-1] < after[1] + 25


@pytest.mark.timeout(140 + IDLE_SECS)
async def test_connections_that_rest_cost_less_than_a_request_of_each(cluster: Cluster) -> None:
    """What the process does by itself and what a request costs are measured beside it: machines differ in all three."""
    await asyncio.to_thread(cluster.mock_worker, *WORKER)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    request = b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n"

    async def cpu_in(secs: float) -> float:
        before = serving_cpu_secs(frontend)
        await asyncio.sleep(secs)
        return serving_cpu_secs(frontend) - before

    async with http(frontend.url) as client, contextlib.AsyncExitStack() as resting:
        alone = await cpu_in(15)
        before = serving_cpu_secs(frontend)
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
            resting.callback(writer.close)
            writer.write(request)
            assert b"live" in await reader.readuntil(b"}")
        asked = serving_cpu_secs(frontend) - before
        at_rest = await cpu_in(IDLE_SECS) * 15 / IDLE_SECS
        page = (await client.get("/metrics")).text
    print(f"CPU s in 15 s: nobody {alone:.2f}, 1000 at rest {at_rest:.2f}; a request of each {asked:.2f}")
    assert at_rest - alone < asked
    assert re.search(r"^dynamo_fe_client_connections 100\d$", page, re.MULTILINE)
