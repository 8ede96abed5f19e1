"""The one-file build: everything is in it, it serves by itself, and in front of a real mocker."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PyInstaller.archive.readers import CArchiveReader
from tritonclient.grpc import service_pb2

from tests.support.asking import chat
from tests.support.cluster import Cluster
from tests.support.frontends import ROOT, frozen_binary, our_frontend
from tests.support.kserve import KserveFrontend, connected
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer
from tests.support.load import client, stream_chat
from tests.support.nats_server import NatsServer
from tests.support.stores import EtcdServer, FileStore, StoreWith

START_SECS = 30.0


@pytest.fixture(scope="module")
def binary() -> Path:
    return frozen_binary()


def source_modules() -> list[str]:
    command = [sys.executable, "-c", "from modules import *; print(*package_modules('..'), sep='\\n')"]
    return subprocess.run(command, cwd=ROOT / "packaging", capture_output=True, text=True, check=True).stdout.split()


def test_every_module_can_be_imported(binary: Path) -> None:
    names = source_modules()
    check = binary.parent / "import-check" / "import-check"
    done = subprocess.run([check, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(names)} modules imported\n"


def test_runs_from_glibc_2_35_on(binary: Path) -> None:
    """The build machine's libstdc++ may need a later glibc than the target has."""
    names = {Path(name).name for name in CArchiveReader(str(binary)).toc}
    assert not [name for name in names if name.startswith(("libstdc++", "libgcc_s"))]


def test_a_hangup_is_held_before_all_else(binary: Path) -> None:
    """It would end the program while PyInstaller's own beginnings are imported, which takes longer than all before."""
    scripts = [name for name, entry in CArchiveReader(str(binary)).toc.items() if entry[-1] == "s"]
    assert scripts[:2] == ["pyiboot01_bootstrap", "first"]


def unpacked(binary: Path, folder: Path) -> Path:
    """What the one-file build would unpack; the program itself among it."""
    shutil.copy(binary, folder)
    reader = CArchiveReader(str(binary))
    for name in reader.toc:
        if ".so" in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(reader.extract(name))
    return folder


@pytest.mark.parametrize("form", ["file", "folder"])
def test_no_library_is_looked_for_where_it_was_built(binary: Path, form: str, tmp_path: Path) -> None:
    folder = unpacked(binary, tmp_path) if form == "file" else binary.parent / "dynamo-fe.d"
    files = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    assert len(files) > 60
    said = subprocess.run(["readelf", "-d", *files], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"\(R(?:UN)?PATH\)\s+Library r(?:un)?path: \[(.*)\]", said)
    assert paths, "pyzmq has one, relative to its own place"
    assert {path for path in paths if not path.startswith("$ORIGIN")} == set()


def test_version_needs_no_python(binary: Path) -> None:
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dynamo-fe ")


async def test_mock_workers_inside_the_file_stream_a_chat(binary: Path, tmp_path: Path) -> None:
    frontend = our_frontend({}, log=tmp_path / "frozen.log", arguments=["--mock-workers", "2"], command=[binary])
    try:
        await asyncio.to_thread(frontend.wait_listed, "mock")
        async with client(frontend.url) as source:
            stream = await source.chat.completions.create(
                model="mock", messages=[{"role": "user", "content": "hello"}], max_tokens=16, stream=True
            )
            chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        frontend.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(frontend.process.wait_for_exit, START_SECS) == 0
    finally:
        frontend.stop()


def test_the_page_is_inside(binary: Path, tmp_path: Path) -> None:
    frontend = our_frontend({}, log=tmp_path / "frozen.log", arguments=["--mock-workers", "1"], command=[binary])
    try:
        frontend.process.wait_until(lambda: bool(frontend.models()), "model", START_SECS)
        for path, name in (("", "index.html"), ("page.css", "page.css"), ("page.js", "page.js")):
            with urllib.request.urlopen(f"{frontend.url}/{path}", timeout=START_SECS) as answer:
                before, _, after = (ROOT / "dynamo_fe" / "http" / "page" / name).read_text().partition("__PATHS__")
                served = answer.read().decode()
                assert served.startswith(before) and served.endswith(after), name
    finally:
        frontend.stop()


def test_bench_with_a_frontend_of_its_own(binary: Path) -> None:
    command = [binary, "bench", "--requests", "10", "--output-tokens", "4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["requests"]["complete"] == 10 and found["cpu"]["processes"] == 1


def test_kv_events_inside_the_file(binary: Path, tmp_path: Path) -> None:
    arguments = ["--mock-workers", "2", "--router-mode", "kv", "--workers", "2"]
    frontend = our_frontend({}, log=tmp_path / "frozen.log", arguments=arguments, command=[binary])
    try:
        frontend.process.wait_until(lambda: bool(frontend.models()), "model", START_SECS)
        said = [{"role": "user", "content": "the same once more " * 30}]

        cached: list[int] = []

        def hit() -> bool:
            status, answer = chat(frontend.url, "mock", messages=said, max_tokens=2)
            # of two processes the other one may not know the model yet
            if status == 200:
                cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
            return bool(cached) and cached[-1] > 0

        frontend.process.wait_until(hit, "a hit", START_SECS)
        assert cached[0] == 0
    finally:
        frontend.stop()


def test_grpc_inside_the_file(binary: Path, file_store: FileStore, tmp_path: Path) -> None:
    arguments = ["--mock-workers", "1"]
    frontend = KserveFrontend(
        file_store, tmp_path / "frozen.log", command=[binary], arguments=arguments, beside_http=True
    )
    try:
        frontend.wait_ready("mock")
        request = service_pb2.ModelInferRequest(model_name="mock", id="frozen")
        request.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"hello")
        request.parameters["max_tokens"].int64_param = 4
        with connected(frontend) as stub:
            answer = stub.ModelInfer(request, timeout=30)
            request.inputs.add(name="streaming", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
            pieces = list(stub.ModelStreamInfer(iter([request]), timeout=30))
        assert (answer.model_name, answer.id) == ("mock", "frozen")
        assert answer.outputs[0].contents.bytes_contents[0]
        assert len(pieces) >= 2 and not any(piece.error_message for piece in pieces)
        frontend.process.send_signal(signal.SIGTERM)
        assert frontend.process.wait_for_exit(START_SECS) == 0
    finally:
        frontend.stop()


async def test_in_front_of_a_real_mocker_on_etcd(
    binary: Path, etcd_server: EtcdServer, large_model_dir: Path, tmp_path: Path
) -> None:
    with Cluster(etcd_server, tmp_path) as cluster:
        await asyncio.to_thread(cluster.mocker, model_dir=large_model_dir, speedup_ratio=0)
        frontend = await asyncio.to_thread(cluster.frontend, "mock", command=[binary])
        async with client(frontend.url) as source:
            answer = await source.chat.completions.create(
                model="mock", messages=[{"role": "user", "content": "hello"}], max_tokens=16
            )
        assert answer.choices[0].message.content
        assert answer.usage is not None and answer.usage.completion_tokens == 16


def test_in_front_of_a_real_mocker_on_kubernetes(binary: Path, kube_server: KubeServer, tmp_path: Path) -> None:
    with KubeCluster(kube_server, tmp_path) as kube:
        kube.pod("worker-0").mocker("mock", speedup_ratio=0)
        frontend = kube.pod("frontend-0", service="frontend").frontend("mock", command=[binary])
        status, answer = chat(frontend.url, "mock", max_tokens=16)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 16)


async def test_in_front_of_a_real_mocker_over_nats(
    binary: Path, file_store: FileStore, tiny_model_dir: Path, tmp_path: Path
) -> None:
    nats = NatsServer(tmp_path)
    nats.start()
    try:
        with Cluster(StoreWith(file_store, nats.environment), tmp_path) as cluster:
            await asyncio.to_thread(cluster.mocker, model_dir=tiny_model_dir, speedup_ratio=0)
            frontend = await asyncio.to_thread(cluster.frontend, "mock", command=[binary])
            async with client(frontend.url) as source:
                assert await stream_chat(source, "mock", 12) == 12
            assert "connected to NATS" in frontend.process.output()
    finally:
        nats.stop()


def test_killing_the_boot_loader_leaves_nothing_serving(binary: Path, tmp_path: Path) -> None:
    frontend = our_frontend({}, log=tmp_path / "frozen.log", arguments=["--mock-workers", "1"], command=[binary])
    try:
        frontend.process.wait_until(lambda: bool(frontend.models()), "model", START_SECS)
        frontend.process.send_signal(signal.SIGKILL)
        frontend.process.wait_for_exit(START_SECS)
        deadline = time.monotonic() + START_SECS
        while frontend.models():
            assert time.monotonic() < deadline, "still serving"
            time.sleep(0.05)
    finally:
        frontend.stop()
