"""`dynamo-fe doctor` says what Kubernetes discovery lacks, and of each worker why it does not count."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask
from tests.support.frontends import our_command
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import NAMESPACE, KubeServer
from tests.support.processes import clean_environment

RECORDS = "dynamoworkermetadatas"
ENABLED = "nvidia.com/dynamo-discovery-enabled=true"
READS = [
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    {"apiGroups": ["nvidia.com"], "resources": [RECORDS], "verbs": ["list", "watch"]},
]
Finding = dict[str, str]


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


class Doctor:
    """What it says to a pod."""

    def __init__(self, server: KubeServer, *arguments: str, pod: str = "frontend-0", **variables: str) -> None:
        found = server.pod(pod, service="frontend", token="frontend").environment | variables
        command = [*our_command(), "doctor", "--json", "--http-host", "127.0.0.1", "--http-port", "0", *arguments]
        done = subprocess.run(command, env=clean_environment(found), capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        self.code = done.returncode
        self.findings: list[Finding] = json.loads(done.stdout)

    def texts(self, what: str, verdict: str) -> list[str]:
        return [each["text"] for each in self.findings if (each["what"], each["verdict"]) == (what, verdict)]

    def remedy(self, text: str) -> str:
        return next(each["remedy"] for each in self.findings if text in each["text"])

    def failures(self) -> list[str]:
        return [each["what"] for each in self.findings if each["verdict"] == "fail"]


def write_record(server: KubeServer, name: str, *, owner: dict[str, Any] | None, data: Any) -> None:
    metadata = {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner] if owner else []}
    server.put(RECORDS, {"metadata": metadata, "spec": {"data": data}})


def owned_by(uid: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": uid}


def test_all_is_well(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker("--no-kv-events")
    doctor = Doctor(kube_server)
    assert (doctor.code, doctor.failures()) == (0, [])
    assert any("namespace serving, as pod frontend-0" in text for text in doctor.texts("kubernetes", "ok"))
    assert doctor.texts("rights", "ok") == [
        "may list, watch endpointslices.discovery.k8s.io in namespace serving",
        "may list, watch dynamoworkermetadatas.nvidia.com in namespace serving",
    ]
    assert doctor.texts("workers", "ok") == ["1 count: worker-0"]
    assert doctor.texts("model mock", "ok")


def test_each_right_that_is_missing_is_named_with_its_rule(kube_server: KubeServer) -> None:
    kube_server.grant("frontend", [READS[0] | {"verbs": ["list"]}, READS[1]])
    doctor = Doctor(kube_server)
    text = "may not watch endpointslices.discovery.k8s.io in namespace serving"
    assert (doctor.code, doctor.texts("rights", "fail")) == (3, [text])
    rule = 'give the Role the rule {apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]}'
    assert doctor.remedy(text) == rule


def test_writing_is_asked_for_only_where_it_is_needed(kube_server: KubeServer) -> None:
    kube_server.grant("frontend", READS)
    assert Doctor(kube_server).texts("rights", "fail") == []
    doctor = Doctor(kube_server, "--router-mode", "kv", "--router-replica-sync")
    expected = ["may not create nor patch dynamoworkermetadatas.nvidia.com in namespace serving"]
    assert doctor.texts("rights", "fail") == expected


@pytest.mark.parametrize("answer", [{"status": 403}, {"status": 200, "text": "hello"}, {"status": 200, "text": "{}"}])
def test_where_rights_cannot_be_asked_for_the_lists_tell(kube_server: KubeServer, answer: dict[str, Any]) -> None:
    kube_server.grant("frontend", [READS[1]])
    kube_server.fault(answer, path="selfsubjectaccessreviews")
    doctor = Doctor(kube_server)
    assert any("cannot be asked" in text for text in doctor.texts("rights", "warn"))
    (text,) = doctor.texts("list of endpointslices.discovery.k8s.io", "fail")
    assert 'cannot list resource "endpointslices"' in text
    assert "access.yaml" in doctor.remedy(text)


def test_the_kind_is_not_installed(kube_server: KubeServer) -> None:
    kube_server.install_crd(False)
    doctor = Doctor(kube_server)
    assert doctor.texts("records", "fail") == ["the kind dynamoworkermetadatas.nvidia.com is not installed"]


@pytest.mark.parametrize("text", ["hello", "{}", '{"metadata": {"resourceVersion": "7"}, "items": [7, {}]}'])
def test_what_answers_is_no_api_server(kube_server: KubeServer, text: str) -> None:
    kube_server.fault({"status": 200, "text": text})
    doctor = Doctor(kube_server)
    assert [each for each in doctor.findings if "cannot be read" in each["text"]]


def test_a_token_that_is_refused_and_a_server_that_is_away(kube_server: KubeServer) -> None:
    kube_server.accept_tokens("another")
    assert any("401" in text for text in Doctor(kube_server).texts("kubernetes", "fail"))
    environment = kube_server.pod("frontend-1", token="frontend").environment
    kube_server.stop()
    command = [*our_command(), "doctor", "--json", "--http-port", "0"]
    done = subprocess.run(command, env=clean_environment(environment), capture_output=True, text=True, timeout=60)
    texts = [each["text"] for each in json.loads(done.stdout) if each["what"] == "kubernetes"]
    assert done.returncode == 3
    assert any("refused" in text for text in texts)


def test_no_pod_and_no_server_are_named(kube_server: KubeServer, tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    doctor = Doctor(kube_server, **nowhere)
    assert any("no Kubernetes API server is configured" in text for text in doctor.texts("kubernetes", "fail"))
    doctor = Doctor(kube_server, POD_NAME="", POD_UID="")
    assert any("POD_NAME and POD_UID" in text for text in doctor.texts("kubernetes", "fail"))


def test_each_worker_that_does_not_count_is_explained_as_serving_does(
    kube: KubeCluster, kube_server: KubeServer
) -> None:
    kube.pod("worker-0").mock_worker("--no-kv-events")
    uids = {name: kube_server.pod(name, ready=name != "unready").uid for name in ("unready", "remade", "orphan", "odd")}
    write_record(kube_server, "unready", owner=owned_by(uids["unready"]), data={"endpoints": {}})
    write_record(kube_server, "remade", owner=owned_by("uid-before"), data={"endpoints": {}})
    write_record(kube_server, "orphan", owner=None, data={"endpoints": {}})
    write_record(kube_server, "odd", owner=owned_by(uids["odd"]), data=None)
    write_record(kube_server, "nowhere", owner=owned_by("uid-nowhere"), data={"endpoints": {}})
    doctor = Doctor(kube_server)
    said = {
        text.removeprefix("worker ").split(" is left out: ")[0]: (verdict, text)
        for verdict in ("warn", "fail")
        for text in doctor.texts("workers", verdict)
    }
    assert {name: verdict for name, (verdict, _) in said.items()} == {
        "unready": "warn",
        "remade": "warn",
        "orphan": "fail",
        "odd": "fail",
        "nowhere": "fail",
    }
    assert "not ready" in said["unready"][1]
    assert "uid-before" in said["remade"][1]
    assert "owned by no Pod" in said["orphan"][1]
    frontend = kube.pod("frontend-1", service="frontend").frontend("mock")
    _, ready = ask(f"{frontend.url}/ready")
    assert all(text in ready for _, text in said.values())


def test_a_service_without_the_label_is_named_with_the_command(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube.pod("worker-0").mock_worker("--no-kv-events")
    kube_server.control("POST", "service", {"name": "worker", "namespace": NAMESPACE, "labels": {}})
    doctor = Doctor(kube_server)
    (text,) = doctor.texts("workers", "fail")
    assert "EndpointSlice worker-abcde names it, but has no label" in text
    assert doctor.remedy(text) == f"kubectl label service worker {ENABLED}"


def test_container_mode_looks_at_pods(kube: KubeCluster, kube_server: KubeServer) -> None:
    containers = {"main": True, "side": False}
    for container in containers:
        kube.pod("worker-0", container=container, containers=containers, uid="uid-0").mock_worker("--no-kv-events")
    doctor = Doctor(kube_server, DYN_KUBE_DISCOVERY_MODE="container", CONTAINER_NAME="main")
    assert "may list, watch pods in namespace serving" in doctor.texts("rights", "ok")
    assert doctor.texts("workers", "ok") == ["1 count: worker-0"]
    assert doctor.texts("workers", "warn") == ["worker worker-0-side is left out: its pod is not ready"]
