"""TLS files that are written to while the service runs: a process that takes another's place does not see it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.interop.test_planes import LOOPBACK, nats_tls, tcp_tls, tls_arguments
from tests.support.asking import chat
from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.nats_server import NatsServer
from tests.support.processes import children
from tests.support.stores import FileStore, StoreWith


def copied(variables: Mapping[str, str], folder: Path) -> tuple[dict[str, str], list[Path]]:
    """The variables with files of their own, and these."""
    folder.mkdir()
    own: dict[str, str] = {}
    for name, path in variables.items():
        copy = folder / name
        copy.write_bytes(Path(path).read_bytes())
        own[name] = str(copy)
    return own, [Path(path) for path in own.values()]


def replace_all(frontend: Frontend) -> None:
    """Kills every child and waits until as many are there anew and a request is answered by the workers."""
    old = set(children(frontend.process.pid))
    for pid in old:
        os.kill(pid, signal.SIGKILL)

    def replaced() -> bool:
        now = set(children(frontend.process.pid))
        return len(now) == len(old) and not now & old

    frontend.process.wait_until(replaced, "successors")
    frontend.process.wait_until(lambda: answers(frontend), "an answer by a successor", 60.0)
    said = frontend.process.output()
    assert "Traceback" not in said and "ended with exit code" not in said


def answers(frontend: Frontend) -> bool:
    try:
        return chat(frontend.url, "mock", max_tokens=2)[0] == 200
    except OSError:
        return False


async def test_those_of_the_tcp_plane(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    ours, files = copied(tcp_tls(authority, "frontend"), tmp_path / "ours")
    workers = StoreWith(FileStore(tmp_path / "store"), LOOPBACK | tcp_tls(authority, "worker"))
    with Cluster(workers, tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
        frontend = await asyncio.to_thread(cluster.frontend, "mock", environment=LOOPBACK | ours)
        for path in files:
            path.write_text("")
        await asyncio.to_thread(replace_all, frontend)


@pytest.mark.parametrize("plane", ["requests", "events"])
async def test_those_of_nats(tmp_path: Path, plane: str) -> None:
    """By which requests go, or only what workers say of their KV caches, also to a process that keeps the index."""
    authority = Authority(tmp_path / "tls")
    server = NatsServer(tmp_path, tls_arguments(authority))
    server.start()
    names = {"DYN_REQUEST_PLANE" if plane == "requests" else "DYN_EVENT_PLANE": "nats"}
    access = names | {"NATS_SERVER": f"tls://127.0.0.1:{server.port}"}
    ours, files = copied(nats_tls(authority), tmp_path / "ours")
    try:
        with Cluster(StoreWith(FileStore(tmp_path / "store"), access | nats_tls(authority)), tmp_path) as cluster:
            await asyncio.to_thread(cluster.mocker, speedup_ratio=0)
            arguments = ["--workers", "2", "--router-mode", "kv"]
            frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=arguments, environment=ours)
            assert len(children(frontend.process.pid)) == 3
            for path in files:
                path.write_text("")
            await asyncio.to_thread(replace_all, frontend)
    finally:
        server.stop()
