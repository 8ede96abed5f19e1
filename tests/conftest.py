"""What every test may ask for. A started process is stopped at the end of the test or session, whatever happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import uvloop

from tests.support import models, peer
from tests.support.kube_server import KubeServer
from tests.support.stores import EtcdServer, FileStore


def pytest_configure() -> None:
    """A terminated run ends as an interrupted one does, with the fixtures' clean-up: no process stays behind.

    No property is a matter of time, and each is tried on the same examples every time, but with `--hypothesis-profile
    random`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    too_slow = hypothesis.HealthCheck.too_slow
    untimed = hypothesis.settings(deadline=None, suppress_health_check=[too_slow], print_blob=True)
    hypothesis.settings.register_profile("random", untimed)
    hypothesis.settings.register_profile("same", untimed, derandomize=True)
    hypothesis.settings.load_profile("same")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The product runs on uvloop, whose sockets and cancellation differ from asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """The interpreter with the real Dynamo 1.6.1."""
    return peer.peer_python()


@pytest.fixture(scope="session")
def tiny_model_dir() -> Path:
    """The 300-token model of the captures."""
    return models.TINY_MODEL_DIR


@pytest.fixture(scope="session")
def large_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a vocabulary of 128k tokens."""
    return models.make_large_model(tmp_path_factory.mktemp("large-model"))


@pytest.fixture
def file_store(tmp_path: Path) -> FileStore:
    """An empty directory for file discovery."""
    return FileStore(tmp_path / "store")


@pytest.fixture
def etcd_server(tmp_path: Path) -> Iterator[EtcdServer]:
    """A fresh real etcd on free ports."""
    server = EtcdServer(tmp_path / "etcd")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def kube_server(tmp_path: Path) -> Iterator[KubeServer]:
    """A fresh fake API server of Kubernetes on a free port."""
    server = KubeServer(tmp_path / "kube")
    try:
        server.start()
        yield server
    finally:
        server.stop()
