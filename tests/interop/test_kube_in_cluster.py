"""The in-cluster way in: TLS by the service account's CA and its token, both of which change under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dynamo_fe.discovery.kube_client import KubeClient, KubeError
from dynamo_fe.discovery.kube_config import load_access
from dynamo_fe.discovery.kube_paths import metadatas
from tests.support.certificates import Authority
from tests.support.kube_server import NAMESPACE, KubeServer

PATH = metadatas(NAMESPACE).path


async def test_a_changed_ca_and_a_changed_token_are_used_at_once(tmp_path: Path) -> None:
    authorities = [Authority(tmp_path / name) for name in ("one", "two")]
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("T1")
    (account / "ca.crt").write_text(authorities[0].certificate.read_text())
    pairs = [authority.issue("server") for authority in authorities]
    server = KubeServer(tmp_path / "kube", tls=pairs[0], authority=authorities[0].certificate)
    await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(server.accept_tokens, "T1")
        where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
        client = KubeClient(load_access(where, account))
        assert b"DynamoWorkerMetadataList" in await client.get(PATH)
        await asyncio.to_thread(server.accept_tokens, "T2")
        with pytest.raises(KubeError) as refused:
            await client.get(PATH)
        assert refused.value.code == 401
        (account / "token").write_text("T2")
        await client.get(PATH)
        # The server's certificate is of another authority from now on.
        await asyncio.to_thread(server.stop)
        pairs[0].certificate.write_bytes(pairs[1].certificate.read_bytes())
        pairs[0].key.write_bytes(pairs[1].key.read_bytes())
        await asyncio.to_thread(server.start)
        with pytest.raises(KubeError, match="(?i)certificate"):
            await client.get(PATH)
        (account / "ca.crt").write_text(authorities[1].certificate.read_text())
        await client.get(PATH)
    finally:
        await asyncio.to_thread(server.stop)
