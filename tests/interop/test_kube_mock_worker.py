"""Our mock worker on Kubernetes: both frontends serve it, and its record outlives what may happen to it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, chat, until
from tests.support.frontends import Frontend
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer

RECORDS = "dynamoworkermetadatas"
BLOCK, TURNS = 16, 4
APPLIED = re.compile(r"^dynamo_component_kv_cache_events_applied\{[^}]*\} (\S+)$", re.MULTILINE)
KV_MODE = ("--router-mode", "kv")
FAST = ("--speedup-ratio", "0", "--no-kv-events")


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


def entries(server: KubeServer, name: str = "worker-0") -> dict[str, Any]:
    """The maps of a record, empty when there is none."""
    record = server.record(name)
    return {} if record is None else record["spec"]["data"]


def registered(server: KubeServer, name: str = "worker-0") -> bool:
    return bool(entries(server, name).get("endpoints"))


def events_heard(frontend: Frontend) -> float:
    """Events of KV caches that the frontend has taken in."""
    return sum(float(value) for value in APPLIED.findall(ask(f"{frontend.url}/metrics")[1]))


def writes(server: KubeServer) -> int:
    return len(server.requests(verb="patch", resource=RECORDS))


def test_both_frontends_serve_it(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker("--speedup-ratio", "0")
    ours = kube.pod("frontend-0", service="frontend").frontend("mock")
    real = kube.pod("frontend-1", service="frontend").real_frontend("mock")
    for frontend in (ours, real):
        status, answer = chat(frontend.url, "mock", max_tokens=5)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 5)
    kube_server.pod_ready("worker-0", ready=False)
    for frontend in (ours, real):
        until(lambda frontend=frontend: not frontend.models(), "still listed after its pod turned unready")


def test_both_frontends_route_by_its_events(kube: KubeCluster) -> None:
    for name in ("worker-0", "worker-1", "worker-2"):
        kube.pod(name).mock_worker("--speedup-ratio", "0", "--kv-block-size", str(BLOCK))
    ours = kube.pod("frontend-0", service="frontend").frontend("mock", arguments=KV_MODE)
    real = kube.pod("frontend-1", service="frontend").real_frontend("mock", arguments=KV_MODE)
    for number, frontend in enumerate((ours, real)):
        said, before = f"{number} ", 0
        for _ in range(TURNS):
            heard = events_heard(frontend)
            said += "words to remember " * 10
            messages = [{"role": "user", "content": said}]
            status, answer = chat(frontend.url, "mock", messages=messages, max_tokens=2)
            assert status == 200, answer
            usage = answer["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] >= (before - BLOCK) // BLOCK * BLOCK
            before = usage["prompt_tokens"]
            until(lambda f=frontend, n=heard: events_heard(f) > n, "events of the workers are not heard")


def test_it_registers_as_a_real_worker_does(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker("--speedup-ratio", "0")
    kube.pod("worker-1").mocker("mock", speedup_ratio=0)
    ours, real = kube_server.record("worker-0"), kube_server.record("worker-1")
    assert ours is not None and real is not None
    assert ours["metadata"]["ownerReferences"][0].keys() == real["metadata"]["ownerReferences"][0].keys()
    assert ours["metadata"]["managedFields"][0]["manager"] == real["metadata"]["managedFields"][0]["manager"]
    assert ours["spec"]["data"].keys() == real["spec"]["data"].keys()
    # The real one says forward-pass metrics too, and its event channels only after its model card.
    mine = shapes(kube_server, "worker-0")
    until(lambda: mine <= shapes(kube_server, "worker-1"), "says what the real one does not")


def shapes(server: KubeServer, name: str) -> set[tuple[str, ...]]:
    """Each kind of entry in a record: the map that holds it, then its keys in their order."""
    return {(kind, *entry) for kind, held in entries(server, name).items() for entry in held.values()}


def test_a_lost_record_is_written_again(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker(*FAST)
    frontend = kube.pod("frontend-0", service="frontend").frontend("mock")
    before = entries(kube_server)
    kube_server.delete(RECORDS, "worker-0")
    until(lambda: registered(kube_server), "not written again")
    assert entries(kube_server) == before
    frontend.wait_listed("mock")


def test_a_record_lost_while_nothing_was_heard_is_written_again(kube: KubeCluster, kube_server: KubeServer) -> None:
    worker = kube.pod("worker-0").mock_worker(*FAST)
    kube_server.stop()
    kube_server.forget(RECORDS)
    kube_server.start()
    until(lambda: registered(kube_server), "not written again")
    assert worker.returncode is None


def test_refused_writes_are_tried_again_until_they_are_taken(kube: KubeCluster, kube_server: KubeServer) -> None:
    for status in (403, 503):
        kube_server.fault({"status": status, "retry_after": 0}, verb="patch", times=1)
    kube_server.fault({"reset": True}, verb="patch", times=1)
    worker = kube.pod("worker-0").mock_worker(*FAST, wait=False)
    until(lambda: registered(kube_server), "not registered after refusals")
    # The card after three failures, then the endpoint.
    assert writes(kube_server) == 5
    assert worker.returncode is None
    assert "cannot be written: 403" in worker.output()


def test_it_waits_for_the_kind_to_be_installed(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube_server.install_crd(False)
    worker = kube.pod("worker-0").mock_worker(*FAST, wait=False)
    worker.wait_for_output("cannot be written: 404")
    kube_server.install_crd(True)
    until(lambda: registered(kube_server), "not registered after the kind was installed")


def test_at_its_end_the_endpoint_goes_first_and_the_record_stays(kube: KubeCluster, kube_server: KubeServer) -> None:
    worker = kube.pod("worker-0").mock_worker(*FAST)
    worker.send_signal(15)
    assert worker.wait_for_exit() == 0
    bodies = [each["body"]["spec"]["data"] for each in kube_server.requests(verb="patch", resource=RECORDS)]
    states = [(len(data["model_cards"]), len(data["endpoints"])) for data in bodies]
    assert states == [(1, 0), (1, 1), (1, 0), (0, 0)]
    assert kube_server.record("worker-0") is not None
    assert kube_server.requests(verb="delete") == []


def test_its_end_does_not_wait_for_a_server_that_is_away(kube: KubeCluster, kube_server: KubeServer) -> None:
    worker = kube.pod("worker-0").mock_worker(*FAST)
    kube_server.stop()
    worker.send_signal(15)
    assert worker.wait_for_exit() == 0


def test_a_record_of_another_pod_is_left_alone(kube: KubeCluster, kube_server: KubeServer) -> None:
    worker = kube.pod("worker-0").mock_worker(*FAST)
    record = kube_server.record("worker-0")
    assert record is not None
    record["metadata"]["ownerReferences"][0]["uid"] = "uid-of-another-pod"
    kube_server.put(RECORDS, record)
    worker.wait_for_output("belongs to another pod of that name, uid uid-of-another-pod")
    before = writes(kube_server)
    worker.send_signal(15)
    assert worker.wait_for_exit() == 0
    assert writes(kube_server) == before
    left = kube_server.record("worker-0")
    assert left is not None and left["spec"] == record["spec"]


def test_a_container_starts_with_nothing_of_its_life_before(kube: KubeCluster, kube_server: KubeServer) -> None:
    pod = kube.pod("worker-0", containers={"main": True, "decode": True}, container="decode")
    pod.mock_worker(*FAST).kill()
    stale, before = entries(kube_server, "worker-0-decode"), writes(kube_server)
    assert stale["endpoints"]
    pod.mock_worker(*FAST, wait=False)
    until(
        lambda: entries(kube_server, "worker-0-decode")["endpoints"] not in ({}, stale["endpoints"]),
        "not registered at its new address",
    )
    first = kube_server.requests(verb="patch", resource=RECORDS)[before]["body"]
    assert (first["metadata"]["name"], first["spec"]["data"]["endpoints"]) == ("worker-0-decode", {})
    assert kube_server.requests(verb="delete") == []
