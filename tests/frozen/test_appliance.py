"""The frozen program as a service: several processes, kills and drains."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.support import nspawn
from tests.support.asking import chat
from tests.support.cluster import Cluster
from tests.support.frontends import ROOT, Frontend, frozen_binary
from tests.support.load import Outcome, client
from tests.support.mock_workers import ENDPOINT
from tests.support.new_connections import NewConnections
from tests.support.processes import Process, children
from tests.support.stores import FileStore, registered

FORMS = {"file": frozen_binary, "folder": lambda: ROOT / "dist" / "dynamo-fe.d" / "dynamo-fe"}
SLOW = ("--decode-tokens-per-sec", "30", "--prefill-tokens-per-sec", "100000")


@pytest.fixture(params=sorted(FORMS))
def program(request: pytest.FixtureRequest) -> Path:
    """Each form of the build."""
    path: Path = FORMS[request.param]()
    assert path.exists(), f"{path} does not exist; make it with: make freeze"
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


def serving_processes(frontend: Frontend, program: Path) -> list[int]:
    """Those below the supervisor, which in the one-file form is itself the child of the boot loader."""
    pid = frontend.process.pid
    return children(pid if program.parent.name == "dynamo-fe.d" else children(pid)[0])


async def test_a_killed_process_is_back_soon_and_nobody_is_refused(cluster: Cluster, program: Path) -> None:
    await asyncio.to_thread(cluster.mock_worker, *SLOW)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--workers", "2"], command=[program])
    outcome = Outcome()
    first, second = serving_processes(frontend, program)
    async with client(frontend.url) as source:
        streams = [asyncio.create_task(outcome.one(source, "mock", 60)) for _ in range(20)]
        await outcome.begun(20)
        async with NewConnections(frontend.port) as connections:
            await connections.more(10)
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(60):
                while len(serving_processes(frontend, program)) < 2 or first in serving_processes(frontend, program):
                    await asyncio.sleep(0.02)
            await connections.more(50)
        await asyncio.gather(*streams)
    assert second in serving_processes(frontend, program)
    # A connection that the killed process had in hand at that moment is cut; none is refused.
    assert set(connections.refused) <= {"ConnectionResetError"} and sum(connections.refused.values()) <= 4
    assert outcome.complete + len(outcome.failures) == 20 and outcome.complete > 0


async def test_the_end_loses_none_of_fifty_streams(cluster: Cluster, program: Path) -> None:
    await asyncio.to_thread(cluster.mock_worker, *SLOW)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--workers", "2"], command=[program])
    outcome = Outcome()
    async with client(frontend.url) as source:
        streams = [asyncio.create_task(outcome.one(source, "mock", 90)) for _ in range(50)]
        await outcome.begun(50)
        frontend.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*streams)
    assert (outcome.complete, outcome.failures) == (50, [])
    assert await asyncio.to_thread(frontend.process.wait_for_exit, 30) == 0


async def test_a_signal_to_the_whole_group_loses_no_stream(cluster: Cluster, program: Path) -> None:
    """As `timeout` and supervisord's stopasgroup send it: every process has it twice."""
    await asyncio.to_thread(cluster.mock_worker, *SLOW)
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--workers", "2"], command=[program])
    outcome = Outcome()
    async with client(frontend.url) as source:
        streams = [asyncio.create_task(outcome.one(source, "mock", 60)) for _ in range(10)]
        await outcome.begun(10)
        os.killpg(frontend.process.pid, signal.SIGTERM)
        await asyncio.gather(*streams)
    assert (outcome.complete, outcome.failures) == (10, [])
    assert await asyncio.to_thread(frontend.process.wait_for_exit, 30) == 0


def family(pid: int) -> list[int]:
    """Descriptors of the process and of all below it; a check that one of them runs for a moment may have ended."""
    try:
        return [os.pidfd_open(pid), *(each for child in children(pid) for each in family(child))]
    except (FileNotFoundError, ProcessLookupError):
        return []


def gone(pidfd: int) -> bool:
    """Whether the process ends within 60 s (a zombie has ended)."""
    return bool(select.select([pidfd], [], [], 60)[0])


@pytest.mark.parametrize("killed", ["supervisor", "boot loader"])
async def test_a_kill_leaves_nothing_that_serves(cluster: Cluster, program: Path, killed: str) -> None:
    """With an answer of a minute under way, in every kind of process."""
    kinds = ["--workers", "2", "--grpc-port", "0", "--router-mode", "kv", "--mock-workers", "2"]
    frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=kinds, command=[program])
    first = frontend.process.pid
    supervisor = first if program.parent.name == "dynamo-fe.d" else children(first)[0]
    pidfds = family(supervisor)
    assert len(pidfds) >= 7
    async with client(frontend.url) as source:
        outcome, stream = await streaming(source)
        os.kill(supervisor if killed == "supervisor" else first, signal.SIGKILL)
        assert all([await asyncio.to_thread(gone, pidfd) for pidfd in pidfds])
        socket.create_server(("127.0.0.1", frontend.port)).close()
        await stream
    assert len(outcome.failures) == 1
    for pidfd in pidfds:
        os.close(pidfd)


def test_a_shell_has_it_back_after_a_kill_and_no_more_after_its_end(cluster: Cluster, program: Path) -> None:
    cluster.mock_worker()
    loop = ["sh", "-c", 'until "$@"; do echo "exit code $?"; done', "sh", program]
    frontend = cluster.frontend("mock", arguments=["--workers", "2"], command=loop)
    (first,) = children(frontend.process.pid)
    pidfds = family(first)
    os.kill(first, signal.SIGKILL)
    assert all(gone(pidfd) for pidfd in pidfds)
    for pidfd in pidfds:
        os.close(pidfd)
    frontend.process.wait_for_output("exit code 137")
    frontend.process.wait_until(lambda: answers(frontend), "an answer")
    (second,) = children(frontend.process.pid)
    os.kill(second, signal.SIGTERM)
    assert frontend.process.wait_for_exit() == 0


def answers(frontend: Frontend) -> bool:
    try:
        return chat(frontend.url, "mock", max_tokens=2)[0] == 200
    except OSError:
        return False


async def streaming(source: openai.AsyncOpenAI) -> tuple[Outcome, asyncio.Task[None]]:
    """An answer that has begun. Of two processes one may not know the model yet."""
    said: list[BaseException] = []
    try:
        async with asyncio.timeout(60):
            while True:
                outcome = Outcome()
                stream = asyncio.create_task(outcome.one(source, "mock", 3600))
                begun = asyncio.create_task(outcome.begun(1))
                await asyncio.wait([stream, begun], return_when=asyncio.FIRST_COMPLETED)
                if begun.done():
                    return outcome, stream
                begun.cancel()
                said = outcome.failures
    except TimeoutError:
        raise AssertionError(f"no answer began within 60 s; the last one: {said}") from None


def test_a_boot_loader_that_is_killed_during_the_start_leaves_nothing() -> None:
    """Before the program inside could ask to be ended with it."""
    loader = subprocess.Popen([frozen_binary(), "--http-port", "0", "--discovery-backend", "mem"])
    while not (inside := [child for child in children(loader.pid) if begun(child)]):
        assert loader.poll() is None
    pidfd = os.pidfd_open(inside[0])
    loader.kill()
    loader.wait()
    assert gone(pidfd)
    os.close(pidfd)


def begun(pid: int) -> bool:
    """Whether it is the program already that the boot loader starts, no longer a copy of the latter."""
    return b"_PYI_" in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_mock_worker_ends_with_its_boot_loader(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    command = [frozen_binary(), "mock-worker", "--discovery-backend", "file"]
    worker = Process(command, log=tmp_path / "worker.log", environment=store.environment, cwd=ROOT)
    try:
        worker.wait_until(lambda: bool(registered(store.keys(), ENDPOINT)), "registration")
        pidfd = os.pidfd_open(children(worker.pid)[0])
        os.kill(worker.pid, signal.SIGKILL)
        assert gone(pidfd)
        os.close(pidfd)
    finally:
        worker.stop()


def test_version_says_which_c_library_it_needs(program: Path) -> None:
    done = subprocess.run([program, "version"], capture_output=True, text=True, env={}, check=True)
    assert "2.35 or newer is needed" in done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("suite", "packages"), [(nspawn.SUITE, nspawn.PACKAGES), ("trixie", "libstdc++6")])
def test_it_starts_on_debian(suite: str, packages: str) -> None:
    root = nspawn.debian_root(suite, packages)
    inside = ["systemd-nspawn", "-q", "-D", root, "--read-only", "--tmpfs=/tmp:mode=1777"]
    inside += [f"--bind-ro={ROOT / 'dist'}:/mnt", "--register=no", "--keep-unit", "--pipe"]
    for program in ("/mnt/dynamo-fe", "/mnt/dynamo-fe.d/dynamo-fe"):
        command = [*inside, program, "check-config", "--discovery-backend", "mem"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (0, "the configuration can be served\n"), done.stderr
