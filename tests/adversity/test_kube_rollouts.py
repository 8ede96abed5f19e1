"""Rollouts of real workers on Kubernetes under load: no request is lost that had not been sent to one that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.asking import ask, until
from tests.support.frontends import Frontend
from tests.support.kube_cluster import KubeCluster
from tests.support.kube_server import KubeServer
from tests.support.load import SteadyLoad
from tests.support.peer import Mocker

STREAMS, TOKENS = 6, 8


@pytest.fixture
def kube(kube_server: KubeServer, tmp_path: Path) -> Iterator[KubeCluster]:
    with KubeCluster(kube_server, tmp_path) as cluster:
        yield cluster


def instances(frontend: Frontend) -> int:
    return ask(f"{frontend.url}/health")[1].count('"endpoint":"generate"')


async def in_thread(act: Callable[[], object]) -> None:
    await asyncio.to_thread(act)


async def started(kube: KubeCluster, name: str) -> Mocker:
    """A worker in a pod of its own, which is not ready before the worker is."""
    server = kube.server
    mocker: Mocker = await asyncio.to_thread(lambda: kube.pod(name, ready=False).mocker("mock"))
    await in_thread(lambda: server.pod_ready(name, ready=True))
    return mocker


async def ended(server: KubeServer, worker: Mocker, name: str) -> None:
    """As kubelet does it: the pod is marked, the slice says not ready, the process is told, then the pod is gone."""
    await in_thread(lambda: server.pod_ready(name, terminating=True))
    await in_thread(worker.stop)
    await in_thread(lambda: server.delete_pod(name))


async def test_a_rolling_update_fails_no_request(kube: KubeCluster, kube_server: KubeServer) -> None:
    old = {name: await started(kube, name) for name in ("old-0", "old-1")}
    frontend = await asyncio.to_thread(lambda: kube.pod("frontend-0", service="frontend").frontend("mock"))
    await in_thread(lambda: until(lambda: instances(frontend) == 2, "both old ones"))
    load = SteadyLoad(frontend.url, "mock", streams=STREAMS, tokens=TOKENS)
    load.start()
    await load.completes(STREAMS)
    for number, (name, worker) in enumerate(old.items()):
        await started(kube, f"new-{number}")
        await in_thread(lambda: until(lambda: instances(frontend) == 3, "the new one"))
        await load.completes(STREAMS)
        await ended(kube_server, worker, name)
        await in_thread(lambda: until(lambda: instances(frontend) == 2, "the old one gone"))
        await load.completes(STREAMS)
    outcome = await load.finish()
    assert outcome.failures == []


@pytest.mark.parametrize("way", ["told", "killed", "unheard"])
async def test_scaling_down_fails_no_request(kube: KubeCluster, kube_server: KubeServer, way: str) -> None:
    """Told: SIGTERM, as always. Killed: its node is gone, and the record stays for a while. Unheard: the API server is
    away while the worker ends, so that nobody hears of it."""
    workers = [await started(kube, f"worker-{number}") for number in range(3)]
    frontend = await asyncio.to_thread(lambda: kube.pod("frontend-0", service="frontend").frontend("mock"))
    await in_thread(lambda: until(lambda: instances(frontend) == 3, "all"))
    load = SteadyLoad(frontend.url, "mock", streams=STREAMS, tokens=TOKENS)
    load.start()
    await load.completes(STREAMS)
    if way == "told":
        await ended(kube_server, workers[0], "worker-0")
    elif way == "killed":
        await in_thread(workers[0].kill)
        await load.completes(5 * STREAMS)
        await in_thread(lambda: kube_server.delete_pod("worker-0"))
    else:
        await in_thread(kube_server.stop)
        await in_thread(workers[0].stop)
        await load.completes(5 * STREAMS)
        await in_thread(kube_server.start)
        await in_thread(lambda: kube_server.delete_pod("worker-0"))
    await in_thread(lambda: until(lambda: instances(frontend) == 2, "two are left"))
    await load.completes(2 * STREAMS)
    outcome = await load.finish()
    # A stream that ran on the killed worker goes on elsewhere.
    assert outcome.failures == []
