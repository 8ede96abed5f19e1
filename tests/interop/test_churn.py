"""Workers and the store come and go under load: nothing fails."""

from __future__ import annotations

import asyncio

from tests.support.cluster import Cluster
from tests.support.load import SteadyLoad, burst, client, stream_chat
from tests.support.peer import Mocker
from tests.support.stores import EtcdServer

TOKENS = 60
SERVED = "request received"


def served(mocker: Mocker) -> bool:
    return SERVED in mocker.process.output()


async def test_streams_of_a_killed_worker_go_on_elsewhere(cluster: Cluster) -> None:
    doomed = await asyncio.to_thread(cluster.mocker)
    await asyncio.to_thread(cluster.mocker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    # Round-robin over two: half of the streams run on each.
    streams = asyncio.create_task(burst(frontend.url, "mock", streams=40, tokens=300))
    await asyncio.to_thread(
        doomed.process.wait_until, lambda: doomed.process.output().count(SERVED) >= 20, "20 requests on it"
    )
    doomed.kill()
    outcome = await streams
    assert (outcome.failures, outcome.complete) == ([], 40)

    after = await burst(frontend.url, "mock", streams=40, tokens=TOKENS)
    assert after.failures == []


async def test_added_worker_is_used_under_load(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.mocker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    load = SteadyLoad(frontend.url, "mock", streams=16, tokens=TOKENS)
    load.start()
    await load.completes(8)
    added = await asyncio.to_thread(cluster.mocker)
    await asyncio.to_thread(added.process.wait_until, lambda: served(added), "request on the added worker")
    await load.completes(16)
    outcome = await load.finish()
    assert outcome.failures == []


async def test_etcd_restart_under_load(etcd_server: EtcdServer, cluster_on_etcd: Cluster) -> None:
    cluster = cluster_on_etcd
    await asyncio.to_thread(cluster.mocker)
    frontend = await asyncio.to_thread(cluster.frontend, "mock")
    load = SteadyLoad(frontend.url, "mock", streams=16, tokens=TOKENS)
    load.start()
    await load.completes(8)
    etcd_server.kill()
    await load.completes(16)
    await asyncio.to_thread(etcd_server.start)
    await load.completes(16)
    outcome = await load.finish()
    assert outcome.failures == []

    # The watch has come back too: a model that is registered now gets listed.
    await asyncio.to_thread(cluster.mocker, "later", speedup_ratio=0, endpoint="dyn://dynamo.later.generate")
    await asyncio.to_thread(frontend.wait_listed, "mock", "later", timeout_secs=30)
    async with client(frontend.url) as source:
        assert await stream_chat(source, "later", tokens=4) == 4
