"""Triton's own client and our gRPC server, in front of real workers: the probe, streams, cancellation, big tensors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from tests.support.cluster import Cluster
from tests.support.kserve import WORKERS, KserveFrontend
from tests.support.peer import peer_python
from tests.support.processes import Process
from tests.support.stores import FileStore

PROBE = Path(__file__).parent.parent / "support" / "kserve_probe.py"
PROBE_MODELS = ("kp-llm", "kp-chat", "kp-tensor", "kp-triton", "kp-noconfig")
PROBE_SECS = 100
HIT_SUM = "dynamo_component_router_kv_hit_rate_sum"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kserve-clients")


@pytest.fixture(scope="module")
def shared_store(home: Path) -> FileStore:
    return FileStore(home / "store")


@pytest.fixture(scope="module")
def probe_workers(home: Path, shared_store: FileStore) -> Iterator[Process]:
    with Process([peer_python(), WORKERS], log=home / "workers.log", environment=shared_store.environment) as process:
        yield process


@pytest.fixture(scope="module")
def frontend(home: Path, shared_store: FileStore, probe_workers: Process) -> Iterator[KserveFrontend]:
    started = KserveFrontend(shared_store, home / "frontend.log")
    try:
        started.wait_ready(*PROBE_MODELS)
        yield started
    finally:
        started.stop()


def test_the_probe_passes_whole_with_strict(home: Path, shared_store: FileStore, probe_workers: Process) -> None:
    strict = KserveFrontend(shared_store, home / "strict.log", arguments=["--kserve-strict"])
    try:
        strict.wait_ready(*PROBE_MODELS)
        command = [sys.executable, PROBE, strict.address, "kp-llm", "--metrics", f"127.0.0.1:{strict.http_port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECS)
    finally:
        strict.stop()
    assert done.stdout.splitlines()[-1] == "87 passed, 0 failed, 0 skipped", done.stdout
    assert done.returncode == 0


def metrics(frontend: KserveFrontend) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{frontend.http_port}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
        return page


def text_inputs(prompt: str, streaming: bool) -> list[Any]:
    text = triton.InferInput("text_input", [1], "BYTES")
    text.set_data_from_numpy(numpy.array([prompt.encode()], dtype=object))
    flag = triton.InferInput("streaming", [1], "BOOL")
    flag.set_data_from_numpy(numpy.array([streaming]))
    return [text, flag]


def texts(result: Any, name: str = "text_output") -> list[bytes]:
    return [bytes(part) for part in result.get_output(name).contents.bytes_contents]


def test_a_real_mocker_streams_to_a_client_with_callbacks(file_store: FileStore, tmp_path: Path) -> None:
    with Cluster(file_store, tmp_path) as cluster:
        cluster.mocker(speedup_ratio=0)
        started = KserveFrontend(file_store, tmp_path / "grpc.log")
        try:
            started.wait_ready("mock")
            answers: list[tuple[Any, Any]] = []
            finals = threading.Semaphore(0)

            def take(result: Any, error: Any) -> None:
                answers.append((result, error))
                if error or result.get_response().parameters["triton_final_response"].bool_param:
                    finals.release()

            with triton.InferenceServerClient(started.address) as client:
                client.start_stream(take)
                for request in ("first", "second"):
                    client.async_stream_infer(
                        "mock",
                        text_inputs("count to ten", True),
                        request_id=request,
                        parameters={"max_tokens": 12},
                        enable_empty_final_response=True,
                    )
                for _ in range(2):
                    assert finals.acquire(timeout=30)
                client.stop_stream()
        finally:
            started.stop()
    assert [error for _, error in answers if error] == []
    by_request: dict[str, list[Any]] = {}
    for result, _ in answers:
        by_request.setdefault(result.get_response().id, []).append(result)
    assert list(by_request) == ["first", "second"]
    for results in by_request.values():
        *pieces, final = results
        assert not final.get_response().outputs
        assert len(pieces) >= 2
        assert texts(pieces[-1], "finish_reason") == [b"length"]


async def test_a_real_mocker_streams_to_an_asyncio_client_and_folds_for_a_unary_one(
    file_store: FileStore, tmp_path: Path
) -> None:
    with Cluster(file_store, tmp_path) as cluster:
        cluster.mocker(speedup_ratio=0)
        started = KserveFrontend(file_store, tmp_path / "grpc.log")
        try:
            started.wait_ready("mock")
            parameters = {"max_tokens": 9, "temperature": 0.0, "ignore_eos": True}

            async def requests() -> Any:
                for request_id in ("a", "b"):
                    yield {
                        "model_name": "mock",
                        "inputs": text_inputs("hello", True),
                        "request_id": request_id,
                        "parameters": parameters,
                    }

            async with triton_aio.InferenceServerClient(started.address) as client:
                ids = []
                async for result, error in client.stream_infer(requests()):
                    assert error is None
                    ids.append(result.get_response().id)
                whole = await client.infer("mock", text_inputs("hello", False), parameters=parameters, request_id="u")
        finally:
            started.stop()
    assert sorted(ids) == ids
    assert set(ids) == {"a", "b"}
    assert texts(whole, "finish_reason") == [b"length"]
    assert whole.get_response().id == "u"


async def test_a_hundred_streams_cancelled_midway_reach_their_worker(frontend: KserveFrontend) -> None:
    """The worker looks every 50 ms whether it is to stop, and counts."""

    async def cancelled(client: Any) -> int:
        result = await client.infer("kp-llm", text_inputs("!cancels", False))
        return int(texts(result)[0])

    async with triton_aio.InferenceServerClient(frontend.address) as client:
        before = await cancelled(client)

        async def abandon() -> None:
            async def one() -> Any:
                yield {"model_name": "kp-llm", "inputs": text_inputs("!slow 400", True)}
                await asyncio.Event().wait()

            answers = client.stream_infer(one())
            seen = 0
            async for _, error in answers:
                assert error is None
                seen += 1
                if seen == 2:
                    break
            answers.cancel()

        await asyncio.gather(*(abandon() for _ in range(100)))
        async with asyncio.timeout(60):
            while await cancelled(client) < before + 100:
                await asyncio.sleep(0.05)


def test_tensors_of_three_megabytes_go_both_ways(frontend: KserveFrontend) -> None:
    random = numpy.random.default_rng(8)
    given = {
        "FP32": random.standard_normal((768, 1024), dtype=numpy.float32),
        "INT64": random.integers(-(1 << 62), 1 << 62, (384, 1024)),
        "UINT8": random.integers(0, 256, (3 << 20,), dtype=numpy.uint8),
    }
    with triton.InferenceServerClient(frontend.address) as client:
        for datatype, array in given.items():
            tensor = triton.InferInput("t", list(array.shape), datatype)
            tensor.set_data_from_numpy(array)
            back = client.infer("kp-tensor", [tensor], client_timeout=60).as_numpy("t")
            assert numpy.array_equal(back, array), datatype


def test_a_stream_does_not_hold_up_other_calls(frontend: KserveFrontend) -> None:
    connect = triton.InferenceServerClient
    with connect(frontend.address) as slow, connect(frontend.address) as quick:
        got: list[Any] = []
        first = threading.Event()

        def take(result: Any, error: Any) -> None:
            got.append(result)
            first.set()

        slow.start_stream(take)
        slow.async_stream_infer("kp-llm", text_inputs("!slow 1000", True))
        assert first.wait(20)
        assert texts(quick.infer("kp-llm", text_inputs("at once", False))) == [b"at once"]
        slow.stop_stream(cancel_requests=True)


def test_kserve_requests_are_routed_by_their_blocks_too(file_store: FileStore, tmp_path: Path) -> None:
    with Cluster(file_store, tmp_path) as cluster:
        cluster.mock_worker("--model-name", "mock")
        cluster.mock_worker("--model-name", "mock")
        arguments = ["--router-mode", "kv"]
        started = KserveFrontend(file_store, tmp_path / "grpc.log", arguments=arguments, beside_http=True)
        try:
            started.wait_ready("mock")
            with triton.InferenceServerClient(started.address) as client:
                inputs = text_inputs("the same words once more " * 40, False)

                def hit() -> bool:
                    """Whether the router has placed a request by blocks that a worker holds."""
                    client.infer("mock", inputs, parameters={"max_tokens": 2})
                    page = metrics(started)
                    overlaps = [line for line in page.splitlines() if line.startswith(HIT_SUM)]
                    return any(float(line.rsplit(" ", 1)[1]) > 0 for line in overlaps)

                started.process.wait_until(hit, "a hit")
        finally:
            started.stop()
