"""etcd discovery against a real etcd that lets in only some: users and passwords, TLS with certificates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.factory import open_discovery
from tests.support.etcd_gateway import EtcdGateway
from tests.support.etcd_tls import TlsEtcd
from tests.support.settings import DiscoveryOptions
from tests.support.stores import EtcdServer
from tests.support.watching import Watching

PREFIX = "v1/instances/"
KEY = f"{PREFIX}ns/backend/generate/1"


@contextlib.asynccontextmanager
async def opened(endpoint: str, **values: Any) -> AsyncIterator[Discovery]:
    discovery = open_discovery(DiscoveryOptions(discovery_backend="etcd", etcd_endpoints=endpoint, **values))
    await discovery.start()
    try:
        yield discovery
    finally:
        await discovery.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def gateway(etcd_server: EtcdServer) -> EtcdGateway:
    gateway = EtcdGateway(etcd_server)
    gateway.enable_users("fe", "secret", root_password="root")
    return gateway


async def test_a_user_is_let_in_and_gets_a_new_token_when_the_old_one_is_gone(
    etcd_server: EtcdServer, gateway: EtcdGateway
) -> None:
    user = {"etcd_auth_username": "fe", "etcd_auth_password": "secret", "etcd_lease_ttl_secs": 5}
    async with opened(etcd_server.endpoint, **user) as worker, opened(etcd_server.endpoint, **user) as frontend:
        lease = await worker.grant_lease()
        await worker.publish(KEY, b"one")
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({KEY: b"one"})
            # etcd keeps its tokens in memory: after a restart it knows none of them.
            etcd_server.kill()
            await asyncio.to_thread(etcd_server.start)
            await worker.publish(f"{KEY}1", b"more")
            await watching.until_state({KEY: b"one", f"{KEY}1": b"more"})
            gateway.login("root", "root")
            assert gateway.lease_of(KEY) == lease
            # A change of users makes every token older than the store's.
            gateway.call("auth/user/add", name="other", password="other")
            await worker.withdraw(KEY)
            await watching.until_state({f"{KEY}1": b"more"})
        assert len(watching.snapshots) == 1


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"etcd_auth_username": "fe", "etcd_auth_password": "wrong"}, "authentication failed"),
        ({}, "user name is empty"),
    ],
)
@pytest.mark.usefixtures("gateway")
async def test_a_stranger_is_told_why(etcd_server: EtcdServer, user: dict[str, str], words: str) -> None:
    async with opened(etcd_server.endpoint, **user) as frontend, Watching(frontend, PREFIX) as watching:
        await until(lambda: words in frontend.status().detail)
        assert not frontend.status().connected
        assert not watching.ended
        assert not watching.events


async def test_a_prefix_out_of_bounds_is_said(etcd_server: EtcdServer, gateway: EtcdGateway) -> None:
    user = {"etcd_auth_username": "fe", "etcd_auth_password": "secret"}
    async with opened(etcd_server.endpoint, **user) as frontend, Watching(frontend, "secrets/") as watching:
        await until(lambda: "permission denied" in frontend.status().detail)
        assert not watching.events


async def test_a_user_where_there_are_no_users(etcd_server: EtcdServer) -> None:
    async with opened(etcd_server.endpoint, etcd_auth_username="fe", etcd_auth_password="x") as frontend:
        async with Watching(frontend, PREFIX) as watching:
            await watching.until_state({})


async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    server = TlsEtcd(tmp_path / "etcd")
    material = {
        "etcd_auth_ca": server.ca_pem,
        "etcd_auth_client_cert": server.client_cert_pem,
        "etcd_auth_client_key": server.client_key_pem,
    }
    try:
        await asyncio.to_thread(server.start)
        async with opened(server.endpoint, **material) as worker, opened(server.endpoint, **material) as frontend:
            await worker.grant_lease()
            await worker.publish(KEY, b"one")
            async with Watching(frontend, PREFIX) as watching:
                await watching.until_state({KEY: b"one"})
        async with opened(server.endpoint, etcd_auth_ca=server.ca_pem) as nobody, Watching(nobody, PREFIX) as watching:
            await until(lambda: nobody.status().detail.count(":") > 1)
            assert not watching.events
    finally:
        server.stop()


async def test_tls_of_the_server_alone(tmp_path: Path) -> None:
    server = TlsEtcd(tmp_path / "etcd", ask_for_certificate=False)
    try:
        await asyncio.to_thread(server.start)
        async with opened(server.endpoint, etcd_auth_ca=server.ca_pem) as frontend:
            async with Watching(frontend, PREFIX) as watching:
                await watching.until_state({})
    finally:
        server.stop()
