"""Clusters of real Dynamo workers, and a browser, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.stores import EtcdServer, FileStore, Store


@pytest.fixture(params=["file", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each test once on file discovery and once on a real etcd."""
    if request.param == "file":
        return FileStore(tmp_path / "store")
    server: Store = request.getfixturevalue("etcd_server")
    return server


@pytest.fixture
def cluster(store: Store, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(store, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def cluster_on_etcd(etcd_server: EtcdServer, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(etcd_server, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as browser:
        yield browser
