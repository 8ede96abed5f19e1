"""The clock that doctor holds against the store's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest

from dynamo_fe.cli.doctor.clock import check_clock
from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.config import load


@asynccontextmanager
async def store(answer: bytes) -> AsyncIterator[int]:
    """The port of a server that answers every request so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def found(*ports: int) -> Finding:
    endpoints = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    (finding,) = await check_clock(load(["--discovery-backend", "etcd"], {"ETCD_ENDPOINTS": endpoints}).settings)
    return finding


def dated(ahead_secs: float) -> bytes:
    date = formatdate(time.time() + ahead_secs, usegmt=True)
    return f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("ahead_secs", "verdict", "words"),
    [(0, "ok", ", as etcd at"), (-3600, "warn", "s ahead of that of etcd at"), (3600, "warn", "s behind that of etcd")],
)
async def test_it_is_compared_with_the_date_of_any_answer(ahead_secs: int, verdict: str, words: str) -> None:
    async with store(dated(ahead_secs)) as port:
        finding = await found(port)
    assert (finding.verdict, words in finding.text) == (verdict, True), finding
    assert bool(finding.remedy) == (verdict == "warn")


UNDATED = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n", b"x" * 99999]


@pytest.mark.parametrize("answer", UNDATED)
async def test_what_was_not_compared_is_said(answer: bytes) -> None:
    async with store(answer) as port:
        finding = await found(port)
    assert finding.verdict == "ok"
    assert f"compared with no other clock (etcd at 127.0.0.1:{port} does not date its answer); " in finding.text


async def test_another_member_may_say_it() -> None:
    async with store(b"") as silent, store(dated(0)) as port:
        assert (await found(silent, port)).text.endswith(f"Z, as etcd at 127.0.0.1:{port} has it")


async def test_a_store_without_a_clock() -> None:
    (finding,) = await check_clock(load(["--discovery-backend", "mem"], {}).settings)
    assert "compared with no other clock (the store has none); " in finding.text and "NTP" in finding.text
