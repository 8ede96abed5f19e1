"""etcd discovery against a real etcd: absent, restarted, cut off, silent, compacted, or back without its data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dynamo_fe.discovery.base import Delete, KeyTaken, Put
from dynamo_fe.discovery.etcd import EtcdDiscovery
from dynamo_fe.discovery.etcd_options import EtcdOptions, parse_endpoints
from tests.support.cut_proxy import CutProxy
from tests.support.etcd_gateway import EtcdGateway
from tests.support.stores import EtcdServer
from tests.support.watching import Watching

PREFIX = "v1/instances/"
ONE, TWO, THREE = (f"{PREFIX}ns/backend/generate/{number}" for number in (1, 2, 3))
# Kept alive every third of it, also where the machine is busy; etcd grants none shorter than 2 s.
TTL_SECS = 5

Connect = Callable[[str], EtcdDiscovery]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    opened: list[EtcdDiscovery] = []

    def connect(endpoints: str) -> EtcdDiscovery:
        # etcd hangs up on clients that ping more often than every 5 s.
        discovery = EtcdDiscovery(
            EtcdOptions(
                endpoints=parse_endpoints(endpoints, False),
                lease_ttl_secs=TTL_SECS,
                call_timeout_secs=2.0,
                ping_interval_secs=5.0,
                ping_timeout_secs=1.0,
            )
        )
        opened.append(discovery)
        return discovery

    yield connect
    for discovery in opened:
        await discovery.close()


@pytest.fixture
def gateway(etcd_server: EtcdServer) -> EtcdGateway:
    return EtcdGateway(etcd_server)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def cut_off(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> AsyncIterator[tuple[CutProxy, EtcdDiscovery, Watching]]:
    """A frontend that has seen ONE and whose connection is then cut, with its watch."""
    async with CutProxy(etcd_server.client_port) as proxy:
        frontend = connect(proxy.endpoint)
        gateway.put(ONE, b"one")
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({ONE: b"one"})
            await proxy.cut()
            yield proxy, frontend, watching


async def test_what_one_publishes_another_sees(etcd_server: EtcdServer, connect: Connect) -> None:
    worker, frontend = connect(etcd_server.endpoint), connect(etcd_server.endpoint)
    await worker.start()
    async with Watching(frontend, PREFIX) as watching:
        await watching.until_state({})
        lease = await worker.grant_lease()
        assert lease == await worker.grant_lease() > 0
        await worker.publish(ONE, b"one")
        await worker.publish(TWO, b"two")
        await watching.until_state({ONE: b"one", TWO: b"two"})
        with pytest.raises(KeyTaken):
            await worker.publish("v1/instances/ns/backend/generate/1", b"another")
        assert EtcdGateway(etcd_server).lease_of(ONE) == lease
        await worker.withdraw(ONE)
        await watching.until_state({TWO: b"two"})
        await worker.close()
        await watching.until_state({})
        assert frontend.status().connected
        await frontend.close()
        await watching.join()
    assert len(watching.snapshots) == 1


async def test_a_lease_is_kept_alive(etcd_server: EtcdServer, connect: Connect) -> None:
    worker, frontend = connect(etcd_server.endpoint), connect(etcd_server.endpoint)
    await worker.grant_lease()
    await worker.publish(ONE, b"one")
    async with Watching(frontend, PREFIX) as watching:
        await watching.until_state({ONE: b"one"})
        with pytest.raises(TimeoutError):
            await watching.until(lambda: len(watching.events) > 1, timeout_secs=2 * TTL_SECS)


async def test_absent_at_start(tmp_path: Path, connect: Connect) -> None:
    server = EtcdServer(tmp_path / "etcd")
    worker, frontend = connect(server.endpoint), connect(server.endpoint)
    granted = asyncio.create_task(worker.grant_lease())
    async with Watching(frontend, PREFIX) as watching:
        await until(lambda: "Connection refused" in frontend.status().detail)
        assert not frontend.status().connected
        try:
            await asyncio.to_thread(server.start)
            await watching.until_state({})
            assert await granted > 0
            await worker.publish(ONE, b"one")
            await watching.until_state({ONE: b"one"})
        finally:
            server.stop()
    assert [snapshot.after_outage for snapshot in watching.snapshots] == [False]


async def test_a_restart_is_bridged_without_a_gap(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> None:
    worker, frontend = connect(etcd_server.endpoint), connect(etcd_server.endpoint)
    lease = await worker.grant_lease()
    await worker.publish(ONE, b"one")
    gateway.put(TWO, b"two")
    async with Watching(frontend, PREFIX) as watching:
        await watching.until_state({ONE: b"one", TWO: b"two"})
        etcd_server.kill()
        await asyncio.to_thread(etcd_server.start)
        gateway.delete(TWO)
        gateway.put(THREE, b"three")
        await watching.until_state({ONE: b"one", THREE: b"three"})
    assert watching.events[1:] == [Delete(TWO), Put(THREE, b"three")]
    assert await worker.grant_lease() == gateway.lease_of(ONE) == lease


async def test_a_cut_is_replayed(etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect) -> None:
    async with cut_off(etcd_server, gateway, connect) as (proxy, _, watching):
        gateway.put(ONE, b"changed")
        gateway.put(TWO, b"two")
        gateway.delete(TWO)
        gateway.delete(ONE)
        gateway.put(THREE, b"three")
        await proxy.open()
        await watching.until_state({THREE: b"three"})
    assert watching.events[1:] == [
        Put(ONE, b"changed"),
        Put(TWO, b"two"),
        Delete(TWO),
        Delete(ONE),
        Put(THREE, b"three"),
    ]


async def test_a_silent_connection_is_noticed(etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect) -> None:
    async with CutProxy(etcd_server.client_port) as proxy:
        frontend = connect(proxy.endpoint)
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({})
            proxy.freeze()
            gateway.put(ONE, b"one")
            await until(lambda: not frontend.status().connected)
            proxy.thaw()
            await watching.until_state({ONE: b"one"})
        assert len(watching.snapshots) == 1


async def test_a_compacted_gap_is_a_snapshot_after_an_outage(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> None:
    async with cut_off(etcd_server, gateway, connect) as (proxy, _, watching):
        gateway.delete(ONE)
        gateway.compact(gateway.put(TWO, b"two"))
        await proxy.open()
        await watching.until_state({TWO: b"two"})
        assert [snapshot.after_outage for snapshot in watching.snapshots] == [False, True]
        assert Delete(ONE) not in watching.events
        gateway.delete(TWO)
        await watching.until(lambda: Delete(TWO) in watching.events)


async def test_compaction_while_nothing_changed_here_is_no_event(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> None:
    async with cut_off(etcd_server, gateway, connect) as (proxy, frontend, watching):
        await until(lambda: not frontend.status().connected)
        gateway.compact(gateway.put("v1/other/key", b"x"))
        await proxy.open()
        await until(lambda: frontend.status().connected)
        gateway.put(TWO, b"two")
        await watching.until_state({ONE: b"one", TWO: b"two"})
    assert len(watching.snapshots) == 1


async def test_a_store_back_without_its_data(etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect) -> None:
    worker, frontend = connect(etcd_server.endpoint), connect(etcd_server.endpoint)
    lease = await worker.grant_lease()
    gateway.put(TWO, b"somebody else's")
    await worker.publish(ONE, b"one")
    async with Watching(frontend, PREFIX) as watching:
        await watching.until_state({ONE: b"one", TWO: b"somebody else's"})
        etcd_server.kill()
        etcd_server.wipe()
        await asyncio.to_thread(etcd_server.start)
        await watching.until_state({ONE: b"one"})
        assert [snapshot.after_outage for snapshot in watching.snapshots] == [False, True]
        assert Delete(TWO) not in watching.events
        # The publisher has found its lease gone and registered again, under the same id.
        assert gateway.lease_of(ONE) == lease
        await worker.close()
        await watching.until(lambda: Delete(ONE) in watching.events)


async def test_a_store_whose_new_history_outran_the_old_one(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> None:
    async with cut_off(etcd_server, gateway, connect) as (proxy, _, watching):
        etcd_server.kill()
        etcd_server.wipe()
        await asyncio.to_thread(etcd_server.start)
        for number in range(20):
            gateway.put("v1/other/key", b"%d" % number)
        gateway.put(THREE, b"three")
        await proxy.open()
        await watching.until(lambda: len(watching.snapshots) == 2, timeout_secs=40)
    assert watching.snapshots[1].after_outage
    assert watching.snapshots[1].entries == {THREE: b"three"}
    assert Delete(ONE) not in watching.events


async def test_a_cut_publisher_registers_again_when_its_lease_ran_out(
    etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect
) -> None:
    async with CutProxy(etcd_server.client_port) as proxy:
        worker, frontend = connect(proxy.endpoint), connect(etcd_server.endpoint)
        lease = await worker.grant_lease()
        await worker.publish(ONE, b"one")
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({ONE: b"one"})
            await proxy.cut()
            await watching.until_state({})
            await proxy.open()
            await watching.until_state({ONE: b"one"})
    assert gateway.lease_of(ONE) == lease


async def test_the_next_endpoint_takes_over(etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect) -> None:
    async with CutProxy(etcd_server.client_port) as first, CutProxy(etcd_server.client_port) as second:
        frontend = connect(f"{first.endpoint},{second.endpoint}")
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({})
            assert second.accepted == 0
            await first.cut()
            gateway.put(ONE, b"one")
            await watching.until_state({ONE: b"one"})
            assert second.accepted > 0
            await first.open()
            await second.cut()
            gateway.put(TWO, b"two")
            await watching.until_state({ONE: b"one", TWO: b"two"})
        assert len(watching.snapshots) == 1


async def test_a_large_store_is_read_whole(etcd_server: EtcdServer, gateway: EtcdGateway, connect: Connect) -> None:
    expected = {f"{PREFIX}ns/backend/generate/{number:x}": b"x" * 1000 for number in range(1, 1202)}
    worker, frontend = connect(etcd_server.endpoint), connect(etcd_server.endpoint)
    await worker.grant_lease()
    for start in range(0, len(expected), 100):
        part = list(expected.items())[start : start + 100]
        await asyncio.gather(*(worker.publish(key, value) for key, value in part))
    async with Watching(frontend, PREFIX) as watching:
        await watching.until_state(expected)
        assert len(watching.events) == 1
        # One revision of the store with 1201 deletions in it.
        await worker.close()
        await watching.until_state({})
        assert len(watching.snapshots) == 1
