"""SIGHUP: a new generation of serving processes takes over, and no client notices."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.asking import KeptConnection, chat
from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.load import SteadyLoad
from tests.support.new_connections import NewConnections
from tests.support.processes import free_ports
from tests.support.stores import FileStore


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


def serving_processes(frontend: Frontend) -> set[int]:
    pid = frontend.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def reload(frontend: Frontend) -> None:
    """Waits until the old processes have gone."""
    old = serving_processes(frontend)
    frontend.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        while serving_processes(frontend) & old:
            await asyncio.sleep(0.05)


async def test_neither_streams_nor_new_connections_notice(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "100", "--prefill-tokens-per-sec", "100000")
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--workers", "2"])
    before = serving_processes(frontend)
    streams = SteadyLoad(frontend.url, "mock", streams=6, tokens=60)
    async with NewConnections(frontend.port) as connections:
        streams.start()
        for _ in range(2):
            await connections.more(20)
            await reload(frontend)
        await connections.more(20)
        outcome = await streams.finish()
    assert connections.refused == {}
    assert outcome.failures == [] and outcome.complete >= 6
    assert len(serving_processes(frontend)) == 2 and not before & serving_processes(frontend)


async def test_a_client_that_asks_again_on_its_connection_is_answered(cluster: Cluster) -> None:
    """Its stream has begun before the reload, so that nothing told it to take another connection next time."""
    worker = await asyncio.to_thread(cluster.mock_worker, "--decode-tokens-per-sec", "100")
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    (old,) = serving_processes(frontend)
    connection = KeptConnection(frontend.port)
    body = {"model": "mock", "prompt": "hello", "max_tokens": 100, "stream": True, "ignore_eos": True}
    stream = connection.ask("/v1/completions", body)
    with worker.paused():
        frontend.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(frontend.process.wait_for_output, "reloaded: the new configuration serves")
    assert (await asyncio.to_thread(stream.read)).endswith(b"data: [DONE]\n\n")
    await asyncio.sleep(0.1)
    again = connection.ask("/v1/models")
    assert again.status == 200 and again.headers["connection"] == "close"
    again.read()
    await asyncio.to_thread(frontend.process.wait_until, lambda: old not in serving_processes(frontend), "its end")


async def test_call_backs_come_to_the_ports_that_were_allowed(cluster: Cluster) -> None:
    """Those of two processes and of their successors, no other."""
    await asyncio.to_thread(cluster.mock_worker)
    first = free_ports(6)
    environment = {"DYN_TCP_RESPONSE_STREAM_PORT": str(first), "DYN_LOG": "debug"}
    arguments = ["--workers", "2"]
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=arguments, environment=environment)
    for generation in (0, 2, 0):
        wanted = {first + generation, first + generation + 1}
        await asyncio.to_thread(frontend.process.wait_until, partial(listens, frontend, wanted), f"{wanted}")
        # of two processes one may not know the model yet
        await asyncio.to_thread(frontend.process.wait_until, lambda: answers(frontend), "an answer")
        await reload(frontend)


def answers(frontend: Frontend) -> bool:
    status, _ = chat(frontend.url, "mock", max_tokens=2)
    return status == 200


def listens(frontend: Frontend, wanted: set[int]) -> bool:
    return listening(frontend) == wanted


def listening(frontend: Frontend) -> set[int]:
    """The ports of the serving processes, without that of HTTP."""
    inodes = set()
    for pid in serving_processes(frontend):
        links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
        inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
    return ports - {frontend.port}


async def test_a_new_certificate_is_served_and_a_bad_one_refused(cluster: Cluster, tmp_path: Path) -> None:
    await asyncio.to_thread(cluster.mock_worker)
    authority = Authority(tmp_path / "tls")
    first, second = authority.issue("first"), authority.issue("second")
    served = [tmp_path / "served.crt", tmp_path / "served.key"]
    for source, target in zip(first, served, strict=True):
        target.write_bytes(source.read_bytes())
    arguments = ["--tls-cert-path", str(served[0]), "--tls-key-path", str(served[1])]
    frontend = await asyncio.to_thread(cluster.frontend, arguments=arguments)
    await asyncio.to_thread(frontend.process.wait_for_output, "serving on")

    def certificate() -> str:
        return ssl.get_server_certificate(("127.0.0.1", frontend.port))

    assert await asyncio.to_thread(certificate) == first.certificate.read_text()
    served[0].write_text("nothing of the kind")
    frontend.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(frontend.process.wait_for_output, "reload refused, the configuration stays as it was")
    assert await asyncio.to_thread(certificate) == first.certificate.read_text()
    for source, target in zip(second, served, strict=True):
        target.write_bytes(source.read_bytes())
    await reload(frontend)
    assert await asyncio.to_thread(certificate) == second.certificate.read_text()


async def test_a_certificate_stays_what_it_was_when_it_was_found_good(cluster: Cluster, tmp_path: Path) -> None:
    """Files are written anew in place by some who renew them, and a process may be replaced in between."""
    pair = Authority(tmp_path / "tls").issue("first")
    good = pair.certificate.read_text()
    arguments = ["--tls-cert-path", str(pair.certificate), "--tls-key-path", str(pair.key)]
    frontend = await asyncio.to_thread(cluster.frontend, arguments=arguments)
    await asyncio.to_thread(frontend.process.wait_for_output, "serving on")
    for path in (pair.certificate, pair.key):
        path.write_text("")
    (first,) = serving_processes(frontend)
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(60):
        while serving_processes(frontend) & {first} or not serving_processes(frontend):
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", frontend.port)) == good
    assert "Traceback" not in frontend.process.output() and "panicked" not in frontend.process.output()
