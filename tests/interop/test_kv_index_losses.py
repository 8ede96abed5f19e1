"""Our frontend's index by KV events when messages are lost and workers are killed, with one serving process and two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import until
from tests.support.cluster import Cluster
from tests.support.cut_proxy import CutProxy
from tests.support.kv_shadow import MOCKER, Shadow, gauge, ranks_of
from tests.support.nats_server import NatsServer
from tests.support.stores import EtcdServer, StoreWith

LEASE_SECS = "5"


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_what_was_said_while_nothing_came_by_nats_is_asked_for(
    etcd_server: EtcdServer, tmp_path: Path, processes: str
) -> None:
    server = NatsServer(tmp_path)
    server.start()
    store = StoreWith(etcd_server, {"NATS_SERVER": server.url, "DYN_EVENT_PLANE": "nats"})
    try:
        with Cluster(store, tmp_path) as cluster:
            cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
            async with CutProxy(server.port) as proxy:
                through = {"NATS_SERVER": f"nats://127.0.0.1:{proxy.port}"}
                line = Line([proxy], asyncio.get_running_loop())
                await asyncio.to_thread(lose_and_find, cluster, line, processes, through)
    finally:
        server.stop()


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_what_was_said_while_nothing_came_by_zmq_is_asked_for(
    etcd_server: EtcdServer, tmp_path: Path, processes: str
) -> None:
    with Cluster(etcd_server, tmp_path) as cluster:
        cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
        async with contextlib.AsyncExitStack() as stack:
            line = Line([], asyncio.get_running_loop())
            until(lambda: len(channels(etcd_server)) == 4, "a publisher for each rank")
            for key, record in channels(etcd_server).items():
                config = record["transport"]["config"]
                proxy = await stack.enter_async_context(CutProxy(int(config["endpoint"].split(":")[2])))
                line.proxies.append(proxy)
                config["endpoint"] = f"tcp://127.0.0.1:{proxy.port}"
                etcd_server.replace(key, record)
            await asyncio.to_thread(lose_and_find, cluster, line, processes, {})


def channels(store: EtcdServer) -> dict[str, Any]:
    """Where KV events are published."""
    found = store.records().items()
    return {key: record for key, record in found if "event_channels" in key and "/topic/kv-events/" in key}


class Line:
    """What events come through, told from a thread what to do."""

    def __init__(self, proxies: list[CutProxy], loop: asyncio.AbstractEventLoop) -> None:
        self.proxies = proxies
        self._loop = loop

    def cut(self) -> None:
        for proxy in self.proxies:
            asyncio.run_coroutine_threadsafe(proxy.cut(), self._loop).result()

    def open(self) -> None:
        for proxy in self.proxies:
            asyncio.run_coroutine_threadsafe(proxy.open(), self._loop).result()


def lose_and_find(cluster: Cluster, line: Line, processes: str, environment: Mapping[str, str]) -> None:
    writer = cluster.frontend("mock", arguments=("--router-mode", "kv", "--no-router-kv-events"))
    shadow = Shadow(writer)
    ranks = ranks_of(writer, 4)
    shadow.fill(ranks)
    arguments = ("--router-mode", "kv", "--workers", processes)
    frontend = cluster.frontend("mock", arguments=arguments, environment=environment)
    ranks_of(frontend, 4)
    until(lambda: shadow.is_known_to(frontend), "what the workers said before")

    def lost() -> bool:
        shadow.fill(ranks)
        return not shadow.is_known_to(frontend)

    for _ in range(2):
        line.cut()
        # what is said now; the workers may be asked once more, a second after they were last joined
        until(lost, "nothing is heard any more")
        line.open()
        until(lambda: shadow.is_known_to(frontend), "what was said meanwhile")
        shadow.fill(ranks)
        until(lambda: shadow.is_known_to(frontend), "what was said since")
    assert gauge(frontend, "dynamo_fe_kv_event_feed", "gaps_skipped") == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_killed_worker_goes_with_its_lease_and_all_it_held(
    etcd_server: EtcdServer, tmp_path: Path, processes: str
) -> None:
    with Cluster(StoreWith(etcd_server, {"ETCD_LEASE_TTL": LEASE_SECS}), tmp_path) as cluster:
        first = cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
        frontend = cluster.frontend("mock", arguments=("--router-mode", "kv", "--workers", processes))
        doomed = ranks_of(frontend, 2)
        cluster.mocker(workers=1, speedup_ratio=0, arguments=MOCKER)
        shadow = Shadow(frontend)
        shadow.fill(ranks_of(frontend, 4))
        until(lambda: shadow.is_known_to(frontend), "what the workers said")

        first.kill()
        ranks_of(frontend, 2)
        until(lambda: gauge(frontend, "dynamo_fe_kv_index", "ranks") == 2, "the dead are out of the index")
        shadow.forget({worker for worker, _ in doomed})
        assert len(shadow.blocks) == 2 and shadow.is_known_to(frontend)
