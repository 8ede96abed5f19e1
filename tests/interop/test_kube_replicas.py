"""Frontends that tell each other of their load on Kubernetes: every process is heard, and a right that is missing stops
nobody from serving."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import chat, until
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer
from tests.support.manifests import BASE, build, rules_of

REPLICATING = ("--router-mode", "kv", "--router-replica-sync", "--no-router-kv-events")


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        cluster.pod("worker-0").mock_worker("--speedup-ratio", "0", "--no-kv-events")
        yield cluster


def channels(server: KubeServer, name: str) -> dict[str, Any]:
    record = server.record(name)
    return {} if record is None else record["spec"]["data"]["event_channels"]


def test_every_process_of_a_pod_has_its_channel_in_one_record(kube: KubeCluster, kube_server: KubeServer) -> None:
    pod = kube.pod("frontend-0", service="frontend")
    frontend = pod.frontend("mock", arguments=[*REPLICATING, "--workers", "2"])
    until(lambda: len(channels(kube_server, "frontend-0")) == 2, "no channel of each process")
    assert {each["topic"] for each in channels(kube_server, "frontend-0").values()} == {"active_sequences_events"}
    real = kube.pod("frontend-1", service="frontend").real_frontend("mock", arguments=REPLICATING)
    until(lambda: len(channels(kube_server, "frontend-1")) == 1, "no channel of the real frontend")
    for each in (frontend, real):
        assert chat(each.url, "mock", max_tokens=3)[0] == 200
    frontend.stop()
    assert channels(kube_server, "frontend-0") == {}


def test_it_serves_without_the_right_to_write(kube: KubeCluster, kube_server: KubeServer) -> None:
    kube_server.grant("reader", rules_of(build(BASE), "dynamo-fe"))
    pod = kube.pod("frontend-0", service="frontend", token="reader")
    frontend = pod.frontend("mock", arguments=REPLICATING)
    assert chat(frontend.url, "mock", max_tokens=3)[0] == 200
    frontend.process.wait_for_output("cannot be written: 403")
    assert kube_server.record("frontend-0") is None
