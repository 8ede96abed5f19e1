"""Real Dynamo workers on a fake API server: we serve them, and see what the real frontend beside us sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubePod, KubeServer
from tests.support.models import TINY_MODEL_DIR
from tests.support.peer import Mocker
from tests.support.stores import StoreWith

RECORDS = "dynamoworkermetadatas"


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


def frontend_of(kube: KubeCluster, *models: str, **options: Any) -> Frontend:
    return kube.pod("frontend-0", service="frontend").frontend(*models, **options)


def served(frontend: Frontend, model: str) -> bool:
    """Whether a chat with the model is answered in full."""
    status, answer = chat(frontend.url, model, max_tokens=8)
    assert status == 200, answer
    return bool(answer["choices"][0]["finish_reason"])


def reasons(frontend: Frontend) -> str:
    return "\n".join(json.loads(ask(f"{frontend.url}/ready")[1])["reasons"])


def instances(frontend: Frontend) -> dict[int, str]:
    """Ids with their addresses, of the endpoints that answer chats."""
    entries = json.loads(ask(f"{frontend.url}/health")[1])["instances"]
    return {each["instance_id"]: each["transport"]["tcp"] for each in entries if each["endpoint"] == "generate"}


def test_the_real_frontend_beside_ours_sees_the_same(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mocker("mock")
    worker = kube.pod("worker-1").scripted_worker("tiny")
    worker.say([{"token_ids": [], "text": "as told", "finish_reason": "stop"}])
    ours = frontend_of(kube, "mock", "tiny")
    real = kube.pod("frontend-1", service="frontend").real_frontend("mock", "tiny")
    for frontend in (ours, real):
        assert chat(frontend.url, "tiny")[1]["choices"][0]["message"]["content"] == "as told"
        assert served(frontend, "mock")
    until(lambda: instances(ours) == instances(real), "the same instances")
    assert len(instances(ours)) == 2
    kube_server.pod_ready("worker-1", ready=False)
    for frontend in (ours, real):
        until(lambda frontend=frontend: frontend.models() == {"mock"}, "still listed after its pod turned unready")
    until(lambda: instances(ours) == instances(real), "the same instances without it")
    assert "worker worker-1 is left out: its pod is not ready" in reasons(ours)
    kube_server.pod_ready("worker-1", ready=True)
    for frontend in (ours, real):
        frontend.wait_listed("mock", "tiny")


def test_a_worker_that_ends_leaves_at_once_and_its_pod_with_all_it_owned(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    workers = [kube.pod(f"worker-{number}").mocker("mock", speedup_ratio=0) for number in range(2)]
    frontend = frontend_of(kube, "mock")
    until(lambda: len(instances(frontend)) == 2, "both")
    workers[0].stop()
    until(lambda: len(instances(frontend)) == 1, "the endpoint that it took back")
    assert served(frontend, "mock")
    kube_server.delete_pod("worker-1")
    until(lambda: not frontend.models(), "still listed without its pod")
    # The card of the one that ended stays with its pod.
    assert chat(frontend.url, "mock")[0] == 503
    kube_server.delete_pod("worker-0")
    until(lambda: ask(f"{frontend.url}/v1/chat/completions", {"model": "mock"})[0] == 404, "its card without its pod")


def test_a_worker_that_restarts_in_its_pod_comes_back_at_its_new_address(kube: KubeCluster) -> None:
    pod = kube.pod("worker-0")
    worker = pod.mocker("mock", speedup_ratio=0)
    frontend = frontend_of(kube, "mock")
    ((number, address),) = instances(frontend).items()
    worker.stop()
    pod.mocker("mock", speedup_ratio=0)
    until(lambda: instances(frontend).get(number, address) != address, "the new address")
    assert served(frontend, "mock")


def test_a_new_pod_of_an_old_name_is_used_when_it_has_written_its_own_record(
    kube: KubeCluster, kube_server: KubeServer, tmp_path: Path
) -> None:
    worker = kube.pod("worker-0").mocker("mock", speedup_ratio=0)
    frontend = frontend_of(kube, "mock")
    (number,) = instances(frontend)
    worker.kill()
    kube_server.delete_pod("worker-0", gc=False)
    until(lambda: not frontend.models(), "still listed without its pod")
    pod = kube_server.pod("worker-0")
    until(lambda: f"the ready pod has uid {pod.uid}" in reasons(frontend), "the mismatch")
    assert frontend.models() == set()
    anew = Mocker(pod, TINY_MODEL_DIR, log=tmp_path / "anew.log", speedup_ratio=0)
    try:
        frontend.wait_listed("mock")
        assert list(instances(frontend)) == [number]
        assert served(frontend, "mock")
    finally:
        anew.stop()


def test_containers_of_one_pod_are_workers_of_their_own(
    kube: KubeCluster, kube_server: KubeServer, tmp_path: Path
) -> None:
    pod = kube_server.pod("worker-0", containers={"engine-0": True, "engine-1": False})
    front = kube_server.pod("frontend-0", service="frontend", containers={"main": True})
    with contained(pod, "engine-0", tmp_path) as one, contained(pod, "engine-1", tmp_path) as two:
        one.mocker("one", speedup_ratio=0)
        two.mocker("two", speedup_ratio=0)
        with contained(front, "main", tmp_path) as place:
            ours = place.frontend("one")
            assert ours.models() == {"one"}
            assert "worker worker-0-engine-1 is left out: its pod is not ready" in reasons(ours)
            kube_server.pod_ready("worker-0", containers={"engine-1": True})
            ours.wait_listed("one", "two")
            assert served(ours, "one") and served(ours, "two")
            real = place.real_frontend("one", "two")
            until(lambda: instances(ours) == instances(real), "the same instances")
    # Reading asks for no right to write.
    assert {each["verb"] for each in kube_server.requests(resource="pods")} == {"list", "watch"}


def contained(pod: KubePod, container: str, home: Path) -> Cluster:
    """What runs in one container of a pod."""
    variables = {"DYN_KUBE_DISCOVERY_MODE": "container", "CONTAINER_NAME": container}
    return Cluster(StoreWith(pod, variables), home / f"{pod.name}-{container}")


@pytest.mark.parametrize("missing", ["POD_NAME", "KUBECONFIG"])
def test_without_identity_or_access_the_start_ends_with_words(
    kube_server: KubeServer, tmp_path: Path, missing: str
) -> None:
    pod = kube_server.pod("frontend-0", service="frontend")
    empty = {missing: ""} | ({"HOME": str(tmp_path)} if missing == "KUBECONFIG" else {})
    with Cluster(StoreWith(pod, empty), tmp_path) as cluster:
        process = cluster.frontend().process
        assert process.wait_for_exit() != 0
        words = {"POD_NAME": "kubernetes discovery needs POD_NAME", "KUBECONFIG": "KUBERNETES_SERVICE_HOST is not set"}
        assert words[missing] in process.output()
