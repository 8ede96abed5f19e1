"""Kubernetes discovery with real Dynamo workers and the real frontend on a fake API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer


@pytest.fixture
def cluster(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


def test_a_real_worker_is_served(cluster: KubeCluster) -> None:
    cluster.pod("worker-0").mocker("mock")
    frontend = cluster.pod("frontend-0", service="frontend").frontend("mock")
    print(frontend.url)
