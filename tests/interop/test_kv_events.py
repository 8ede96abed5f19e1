"""Our consumer of KV events on real Dynamo workers: the index is right after every start, loss, death and arrival."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.routing.kv_events.rank import TIERS
from tests.support.asking import chat
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_follower import KvFollower
from tests.support.nats_server import NatsServer
from tests.support.stores import EtcdServer, Store, StoreWith

# Blocks of 16 tokens, 128 of them: enough requests make the workers evict.
SMALL = ("--block-size", "16", "--num-gpu-blocks-override", "128", "--data-parallel-size", "2")
AT_ONCE = 4
WORDS = "the index of each worker is told by what it stores and what it removes from its own memory".split()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["zmq", "nats", "all by nats"])
def events_cluster(request: pytest.FixtureRequest, etcd_server: EtcdServer, tmp_path: Path) -> Iterator[Cluster]:
    """Events on each plane with requests by TCP, and requests by NATS as well."""
    store: Store = etcd_server
    if request.param != "zmq":
        server: NatsServer = request.getfixturevalue("nats_server")
        requests = "tcp" if request.param == "nats" else "nats"
        planes = {"NATS_SERVER": server.url, "DYN_EVENT_PLANE": "nats", "DYN_REQUEST_PLANE": requests}
        store = StoreWith(etcd_server, planes)
    with Cluster(store, tmp_path) as cluster:
        yield cluster


async def converse(frontend: Frontend, requests: int, seed: int) -> None:
    """So many chats, some of which share how they begin."""
    source = random.Random(seed)

    async def one() -> None:
        opening = " ".join(random.Random(source.randrange(4)).choices(WORDS, k=150))
        text = f"{opening} {' '.join(source.choices(WORDS, k=source.randrange(10, 150)))}"
        message: list[Any] = [{"role": "user", "content": text}]
        status, answer = await asyncio.to_thread(chat, frontend.url, "mock", messages=message, max_tokens=4)
        assert status == 200, answer

    for _ in range(0, requests, AT_ONCE):
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def test_what_is_lost_on_the_way_is_recovered(events_cluster: Cluster) -> None:
    events_cluster.mocker(workers=1, speedup_ratio=0, arguments=SMALL)
    frontend = events_cluster.frontend("mock")
    async with KvFollower(events_cluster.store.environment, loss=0.3) as follower:
        await follower.until(lambda: len(follower.ranks()) == 2)
        await converse(frontend, 40, seed=1)
        follower.loss = 0.0
        await converse(frontend, 12, seed=2)
        await follower.until_right()
        assert follower.lost > 0 and follower.tally.values()["gaps"] > 0
        assert follower.tally.values()["gaps_skipped"] == 0


async def test_the_index_follows_the_workers(events_cluster: Cluster) -> None:
    first = events_cluster.mocker(workers=2, speedup_ratio=0, arguments=SMALL)
    frontend = events_cluster.frontend("mock")
    await converse(frontend, 6, seed=1)
    async with KvFollower(events_cluster.store.environment) as follower:
        await follower.until(lambda: len(follower.ranks()) == 4)
        assert await follower.until_right(), "the dumps tell what was before us"
        await converse(frontend, 40, seed=2)
        before = await follower.until_right()
        assert follower.index.counts["removed", "ok"] > 0, "the workers never evicted anything"
        assert {status for _, status in follower.index.counts} == {"ok"}
        values = follower.tally.values()
        assert values["malformed"] == values["foreign"] == values["gaps_skipped"] == values["query_failures"] == 0

        events_cluster.mocker(workers=1, speedup_ratio=0, arguments=SMALL)
        await follower.until(lambda: len(follower.ranks()) == 6)
        await converse(frontend, 20, seed=3)
        assert set(await follower.until_right()) > set(before), "the new worker is not followed"

        first.stop()
        await follower.until(lambda: len(follower.ranks()) == 2)
        await follower.until(lambda: set(follower.index.held()) <= follower.ranks())
        await follower.until_right()


async def test_blocks_that_move_to_host_memory_are_followed(cluster_on_etcd: Cluster) -> None:
    offloading = ("--num-host-blocks", "256", "--kv-bytes-per-token", "1024")
    cluster_on_etcd.mocker(workers=1, speedup_ratio=0, arguments=(*SMALL, *offloading))
    frontend = cluster_on_etcd.frontend("mock")
    async with KvFollower(cluster_on_etcd.store.environment) as follower:
        await follower.until(lambda: len(follower.ranks()) == 2)
        await converse(frontend, 24, seed=1)
        truth = await follower.until_right()
    tiers = {tier for blocks in truth.values() for tier, _ in blocks}
    assert tiers == {TIERS["device"], TIERS["host_pinned"]}
