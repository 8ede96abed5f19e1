"""The end of the frontend under load: what runs comes to its end or is told why not, what is new is refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from dynamo_fe.appliance.supervisor import HAND_OVER_SIGNAL
from tests.support.asking import KeptConnection
from tests.support.cluster import Cluster
from tests.support.frontends import our_frontend
from tests.support.verdicts import HELLO, answering, chat, http

SLOW = ("--decode-tokens-per-sec", "20", "--prefill-tokens-per-sec", "100000")
MANY = ("--context-length", "10000000", "--answer-tokens", "1000000")


async def test_running_requests_end_and_new_ones_are_refused(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *SLOW)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with http(frontend.url) as client:
        streams = asyncio.gather(*(chat(client, bool(n & 1), max_tokens=100, ignore_eos=True) for n in range(4)))
        await answering(client, 4)
        with worker.paused():
            frontend.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(frontend.process.wait_for_output, "draining")
            async with http(frontend.url) as other:
                refused = await other.post("/v1/chat/completions", json={"model": "mock", "messages": HELLO})
                models = await other.get("/v1/models")
        verdicts = await streams
    assert (refused.status_code, refused.json()["message"]) == (503, "Service is not ready")
    assert refused.headers["retry-after"] == "1" and refused.headers["connection"] == "close"
    assert models.status_code == 503
    assert all(verdict.whole for verdict in verdicts)
    assert await asyncio.to_thread(frontend.process.wait_for_exit) == 0


async def test_who_asks_again_on_its_connection_is_refused_and_not_cut_off(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *SLOW)
    variables = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "0"}
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
    connection = KeptConnection(frontend.port)
    body = {"model": "mock", "messages": HELLO, "max_tokens": 60, "stream": True, "ignore_eos": True}
    stream = connection.ask("/v1/chat/completions", body)
    with worker.paused():
        frontend.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(frontend.process.wait_for_output, "draining")
    assert (await asyncio.to_thread(stream.read)).endswith(b"data: [DONE]\n\n")
    await asyncio.sleep(0.1)
    again = connection.ask("/v1/chat/completions", body)
    assert (again.status, again.headers["retry-after"], again.headers["connection"]) == (503, "1", "close")
    again.read()
    assert await asyncio.to_thread(frontend.process.wait_for_exit) == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_done_in_time_is_told(cluster: Cluster, stream: bool) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *SLOW, *MANY)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--drain-timeout-secs", "1"])
    async with http(frontend.url) as client:
        endless = asyncio.create_task(chat(client, stream, max_tokens=100000, ignore_eos=True))
        await answering(client, 1)
        frontend.process.send_signal(signal.SIGTERM)
        verdict = await endless
    assert (verdict.status, verdict.broken) == (503, "")
    assert await asyncio.to_thread(frontend.process.wait_for_exit) == 0
    await asyncio.to_thread(worker.wait_for_output, "kill")


async def test_the_last_frames_of_a_stream_that_was_cut_off(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, *SLOW, *MANY)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--drain-timeout-secs", "0.5"])
    async with http(frontend.url) as client:
        body = {"model": "mock", "messages": HELLO, "max_tokens": 100000, "stream": True, "ignore_eos": True}
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            await answering(client, 1)
            frontend.process.send_signal(signal.SIGTERM)
            events = (await answer.aread()).split(b"\n\n")
    error: dict[str, Any] = json.loads(events[-3].removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"], error["message"]) == (503, "service_unavailable", "Service is shutting down")
    assert events[-2] == b"data: [DONE]"


async def test_a_client_that_does_not_read_holds_nobody_up(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "20000", *MANY)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--drain-timeout-secs", "0.5"])
    body = json.dumps({"model": "mock", "messages": HELLO, "max_tokens": 900000, "stream": True, "ignore_eos": True})
    with socket.create_connection(("127.0.0.1", frontend.port)) as stalled:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
        stalled.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
        async with http(frontend.url) as client:
            await answering(client, 1)
        await asyncio.sleep(1)
        frontend.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(frontend.process.wait_for_exit, 20) == 0


async def test_an_idle_process_ends_at_once(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, *SLOW)
    variables = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "30"}
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
    frontend.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(frontend.process.wait_for_exit, 20) == 0


async def test_a_second_signal_ends_at_once(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, *SLOW, *MANY)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    async with http(frontend.url) as client:
        endless = asyncio.create_task(chat(client, True, max_tokens=100000, ignore_eos=True))
        await answering(client, 1)
        frontend.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(frontend.process.wait_for_output, "draining")
        # Two signals within 0.2 s count as one: a terminal and a supervisor of ours may both send it.
        await asyncio.sleep(0.3)
        frontend.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(frontend.process.wait_for_exit)
        await endless
    assert code == 128 + signal.SIGTERM


async def test_the_port_stays_open_for_whoever_spreads_the_load(cluster: Cluster) -> None:
    worker = await asyncio.to_thread(cluster.mock_worker, *SLOW)
    variables = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "8"}
    frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=variables)
    async with http(frontend.url) as client:
        short = asyncio.create_task(chat(client, True, max_tokens=60, ignore_eos=True))
        await answering(client, 1)
        with worker.paused():
            frontend.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(frontend.process.wait_for_output, "draining")
        assert (await short).whole
        answers: list[httpx.Response] = []
        while len(answers) < 5:
            answer = await client.get("/health")
            if answer.status_code == 503:
                answers.append(answer)
            await asyncio.sleep(0.1)
    assert answers[0].json()["stage"] == "draining"
    assert await asyncio.to_thread(frontend.process.wait_for_exit) == 0


def test_a_process_that_has_yet_to_serve_leaves_the_socket_to_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_store:
        store = f"http://127.0.0.1:{silent_store.getsockname()[1]}"
        environment = {"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": store}
        frontend = our_frontend(environment, log=tmp_path / "frontend.log")
        try:
            silent_store.settimeout(30)
            # it waits for its first view of the workers now
            connection, _ = silent_store.accept()
            supervisor = frontend.process.pid
            (serving,) = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            os.kill(int(serving), HAND_OVER_SIGNAL)
            frontend.process.wait_for_output(f"(process {serving}) ended with exit code 0")
            connection.close()
        finally:
            frontend.stop()
    assert "panicked" not in frontend.process.output()
    assert "ERROR" not in frontend.process.output()
