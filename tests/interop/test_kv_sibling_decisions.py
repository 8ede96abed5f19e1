"""Over real workers: what one process decided, and so guesses, all others know, and those that come later."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.support.asking import ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_shadow import BLOCK, MOCKER, ROUNDS, Shadow, gauge, known, ranks_of
from tests.support.processes import children, free_port
from tests.support.stores import FileStore

KV = ("--router-mode", "kv", "--no-router-kv-events")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("decisions")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
        yield cluster


def serving(frontend: Frontend) -> set[int]:
    return set(children(frontend.process.pid))


def answering(frontend: Frontend) -> bool:
    """Whether a new connection, of whichever process, gets an answer."""
    try:
        return bool(known(frontend, 999))
    except OSError:
        return False


def serves(frontend: Frontend, count: int) -> bool:
    return len(serving(frontend)) == count and all(answering(frontend) for _ in range(ROUNDS))


@pytest.mark.parametrize("policy", ["ttl", "lru"])
def test_all_processes_know_through_kills_and_a_reload(cluster: Cluster, policy: str) -> None:
    arguments = (*KV, "--workers", "3", "--router-approximate-cache-policy", policy)
    frontend = cluster.frontend("mock", arguments=arguments)
    shadow = Shadow(frontend)
    ranks = ranks_of(frontend, 4)
    shadow.fill(ranks * 2)
    assert all(shadow.is_known_to(frontend) for _ in range(ROUNDS))

    for pid in sorted(serving(frontend))[:2]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: serves(frontend, 3), "three processes again")
    assert all(shadow.is_known_to(frontend) for _ in range(ROUNDS))
    shadow.fill(ranks)

    before = serving(frontend)
    frontend.process.send_signal(signal.SIGHUP)
    until(lambda: not serving(frontend) & before and serves(frontend, 3), "three processes of the next generation")
    assert all(shadow.is_known_to(frontend) for _ in range(ROUNDS))
    _, text = ask(f"{frontend.url}/metrics")
    assert 'dynamo_fe_kv_decisions_total{what="lost"} 0\n' in text
    assert f'dynamo_fe_kv_decisions{{what="budget_bytes"}} {64 << 20}\n' in text


def test_predictions_of_one_process_are_known_to_all(tmp_path: Path) -> None:
    """Of workers that say nothing of what they hold."""
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        for control in ("first", "second"):
            cluster.scripted_worker("mock", control=control, runtime_config={"total_kv_blocks": 1000})
        arguments = ("--router-mode", "kv", "--workers", "2", "--router-predicted-ttl-secs", "600")
        frontend = cluster.frontend("mock", arguments=arguments)
        shadow = Shadow(frontend)
        shadow.fill(ranks_of(frontend, 2) * 2)
        assert all(shadow.is_known_to(frontend) for _ in range(ROUNDS))
        assert gauge(frontend, "dynamo_fe_kv_index", "blocks") == 0


def test_a_restart_of_the_only_process_forgets_nothing(cluster: Cluster) -> None:
    frontend = cluster.frontend("mock", arguments=KV)
    shadow = Shadow(frontend)
    shadow.fill(ranks_of(frontend, 4))
    [pid] = serving(frontend)
    os.kill(pid, signal.SIGKILL)
    until(lambda: serving(frontend) != {pid} and answering(frontend), "the next process")
    assert shadow.is_known_to(frontend)


def test_grpc_beside_http_decides_for_both(cluster: Cluster) -> None:
    port = free_port()
    frontend = cluster.frontend("mock", arguments=(*KV, "--grpc-port", str(port)))
    ranks_of(frontend, 4)
    text = "told by gRPC " * 40
    request = service_pb2.ModelInferRequest(model_name="mock")
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text.encode())
    request.parameters["max_tokens"].int64_param = 2
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30, wait_for_ready=True)
    body = {"model": "mock", "prompt": text, "max_tokens": 2}
    status, answer = ask(f"{frontend.url}/v1/completions", body, {"x-dynamo-fe-explain": "only"})
    assert status == 200, answer
    explanation = json.loads(answer)["explanations"][0]
    held = {each["overlap"]["device"] for each in explanation["candidates"]}
    assert held == {0, explanation["prompt_tokens"] // BLOCK}


@pytest.mark.parametrize("more", [{}, {"logprobs": 0}])
def test_by_size_what_was_generated_counts_as_held(tmp_path: Path, more: dict[str, int]) -> None:
    """The worker repeats the prompt: the next turn of the conversation begins with it twice."""
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        cluster.scripted_worker(runtime_config={"total_kv_blocks": 1000})
        arguments = (*KV, "--workers", "2", "--router-approximate-cache-policy", "lru")
        frontend = cluster.frontend("tiny", arguments=arguments)
        tokens = [100 + at for at in range(2 * BLOCK + 5)]
        body = {"model": "tiny", "prompt": tokens, "max_tokens": 100, **more}
        status, answer = ask(f"{frontend.url}/v1/completions", body)
        assert (status, json.loads(answer)["usage"]["completion_tokens"]) == (200, len(tokens)), answer
        for _ in range(ROUNDS):
            body = {"model": "tiny", "prompt": tokens * 2, "max_tokens": 100}
            _, answer = ask(f"{frontend.url}/v1/completions", body, {"x-dynamo-fe-explain": "only"})
            [candidate] = json.loads(answer)["explanations"][0]["candidates"]
            assert candidate["overlap"]["device"] == (2 * len(tokens) - 1) // BLOCK
