"""Clients that send slowly, half or nothing, that do not read, or that send much at once, in front of a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.stores import FileStore

HEAD_IDLE_SECS = 2.0
LIMITS = {
    "DYN_FE_HEAD_IDLE_TIMEOUT_SECS": str(HEAD_IDLE_SECS),
    "DYN_FE_BODY_IDLE_TIMEOUT_SECS": "2",
    "DYN_FE_KEEP_ALIVE_TIMEOUT_SECS": "6",
    "DYN_FE_STALLED_READER_TIMEOUT_SECS": "2",
    "DYN_FE_BODY_BUDGET_MB": "8",
}
PATIENCE_SECS = 40.0
STALLED = 'client_connections_closed_total{reason="stalled_reader"}'
GET_LIVE = b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    home = tmp_path_factory.mktemp("clients")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker("--speedup-ratio", "0")
        cluster.mock_worker("--model-name", "slow")
        yield cluster.frontend("mock", "slow", environment=LIMITS)


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "mock", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: a",
        b"content-type: application/json",
        b"content-length: %d" % (len(body) if length is None else length),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def connected(frontend: Frontend) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", frontend.port)
    try:
        async with asyncio.timeout(PATIENCE_SECS):
            yield reader, writer
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECS):
        while not condition():
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "sent",
    [b"", b"PRI * HT", b"P", GET_LIVE[:-2], b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"],
    ids=["nothing", "half an HTTP/2 preface", "one byte", "half a head", "half a head with a body to come"],
)
async def test_a_client_silent_before_a_whole_head_is_closed(frontend: Frontend, sent: bytes) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with connected(frontend) as (reader, writer):
        writer.write(sent)
        assert await reader.read() == b""
        assert HEAD_IDLE_SECS * 0.9 < loop.time() - begun


async def test_a_head_that_comes_slowly_is_waited_for(frontend: Frontend) -> None:
    async with connected(frontend) as (reader, writer):
        for start in range(0, len(GET_LIVE), 2):
            writer.write(GET_LIVE[start : start + 2])
            await asyncio.sleep(HEAD_IDLE_SECS / 8)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_half_head_behind_an_answer_is_closed(frontend: Frontend) -> None:
    async with connected(frontend) as (reader, writer):
        writer.write(GET_LIVE)
        assert b"Service is live" in await reader.read(4096)
        await asyncio.sleep(1)
        writer.write(b"GET /li")
        assert await reader.read() == b""


async def test_a_connection_may_rest_between_requests(frontend: Frontend) -> None:
    async with connected(frontend) as (reader, writer):
        for _ in range(2):
            writer.write(GET_LIVE)
            assert b"Service is live" in await reader.read(4096)
            await asyncio.sleep(1.5 * HEAD_IDLE_SECS)
        assert await reader.read() == b""  # and is closed in the end


@pytest.mark.parametrize("share", [0, 10], ids=["no byte of the body", "some of the body"])
async def test_a_body_that_stays_out_is_answered_with_408(frontend: Frontend, share: int) -> None:
    body = chat()
    async with connected(frontend) as (reader, writer):
        writer.write(post(body[:share], length=len(body)))
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["message"]


async def test_a_body_that_comes_slowly_is_waited_for(frontend: Frontend) -> None:
    body = chat(max_tokens=2)
    async with connected(frontend) as (reader, writer):
        writer.write(post(b"", length=len(body)))
        for start in range(0, len(body), 10):
            writer.write(body[start : start + 10])
            await asyncio.sleep(0.3)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_waits_long_for_its_answer_is_let_be(frontend: Frontend) -> None:
    """240 tokens of the slow worker take four seconds, more than any limit of silence but the keep-alive's."""
    async with connected(frontend) as (reader, writer):
        writer.write(post(chat(model="slow", max_tokens=240, ignore_eos=True)))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_stalled_reader_is_cut_off_and_its_worker_told(frontend: Frontend) -> None:
    before = metric(frontend, STALLED)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", frontend.port))
        stalled.sendall(post(chat(stream=True, max_tokens=30_000, ignore_eos=True)))
        await until(lambda: metric(frontend, STALLED) == before + 1)
        await until(lambda: metric(frontend, 'active_requests{model="mock"}') == 0)
        with pytest.raises(ConnectionResetError):
            while stalled.recv(1 << 16):
                pass


async def test_a_slow_reader_that_progresses_gets_everything(frontend: Frontend) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", frontend.port))
        slow.sendall(post(chat(stream=True, max_tokens=30_000, ignore_eos=True), b"connection: close"))
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        until_then = loop.time() + 5
        tail = b""
        while loop.time() < until_then:
            tail = (tail + await loop.sock_recv(slow, 4096))[-64:]
            await asyncio.sleep(0.05)
        while part := await loop.sock_recv(slow, 1 << 16):
            tail = (tail + part)[-64:]
        assert b"data: [DONE]" in tail


async def test_large_bodies_beyond_the_budget_are_refused_and_small_ones_served(frontend: Frontend) -> None:
    large = 5 << 20
    async with connected(frontend) as (_, first), connected(frontend) as (second_answer, second):
        first.write(post(b"{", length=large))
        coming = asyncio.create_task(dribble(first))
        await until(lambda: metric(frontend, "request_body_bytes") == large)
        second.write(post(b" " * large))
        status = await second_answer.readline()
        assert status.startswith(b"HTTP/1.1 503"), status
        assert b"retry-after" in await second_answer.readuntil(b"\r\n\r\n")
        async with connected(frontend) as (reader, writer):
            writer.write(post(chat(max_tokens=2)))
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        coming.cancel()
    await until(lambda: metric(frontend, "request_body_bytes") == 0)


async def dribble(writer: asyncio.StreamWriter) -> None:
    """More of a body, so that the time in which nothing of it may come is never over."""
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.2)


async def test_a_client_that_shuts_its_side_ends_its_request(frontend: Frontend) -> None:
    async with connected(frontend) as (reader, writer):
        writer.write(post(chat(model="slow", stream=True, max_tokens=6000, ignore_eos=True)))
        await reader.readuntil(b"data: ")
        writer.write_eof()
        await until(lambda: metric(frontend, 'active_requests{model="slow"}') == 0)


def metric(frontend: Frontend, ending: str) -> float:

    with urllib.request.urlopen(f"{frontend.url}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and name.endswith(ending):
                return float(value)
    return 0.0
