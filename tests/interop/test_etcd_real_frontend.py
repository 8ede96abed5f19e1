"""A real frontend sees what our discovery publishes, for longer than the store keeps what nobody looks after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.protocol.instance import InstanceRecord, Transport, instance_key
from tests.support.frontends import real_frontend
from tests.support.records import WorkerRecords
from tests.support.settings import DiscoveryOptions
from tests.support.stores import Store


def file_ref(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"path": str(path), "checksum": f"blake3:{blake3(content).hexdigest()}", "size": len(content)}


@pytest.mark.usefixtures("peer_python")
@pytest.mark.parametrize("store_name", ["etcd_server", "file_store"])
async def test_a_real_frontend_lists_what_we_publish(
    store_name: str, request: pytest.FixtureRequest, tmp_path: Path, tiny_model_dir: Path
) -> None:
    store: Store = request.getfixturevalue(store_name)
    worker = open_discovery(
        DiscoveryOptions(
            discovery_backend=store.backend,
            etcd_endpoints=store.environment.get("ETCD_ENDPOINTS"),
            file_kv=store.environment.get("DYN_FILE_KV"),
            etcd_lease_ttl_secs=3,
        )
    )
    arguments = ["--discovery-backend", store.backend]
    frontend = real_frontend(store.environment, log=tmp_path / "frontend.log", arguments=arguments)
    try:
        await worker.start()
        instance_id = await worker.grant_lease()
        records = WorkerRecords(
            instance_id,
            namespace="dynamo",
            port=1024,
            source_path=str(tiny_model_dir),
            model_info={"hf_config_json": file_ref(tiny_model_dir / "config.json")},
            tokenizer={"hf_tokenizer_json": file_ref(tiny_model_dir / "tokenizer.json")},
            prompt_formatter={"hf_tokenizer_config_json": file_ref(tiny_model_dir / "tokenizer_config.json")},
            context_length=2048,
        )
        place = ("dynamo", "backend", "generate")
        instance = InstanceRecord(
            namespace=place[0],
            component=place[1],
            endpoint=place[2],
            instance_id=instance_id,
            transport=Transport(tcp=f"127.0.0.1:1024/{instance_id:x}/dynamo/backend/generate"),
            device_type="cuda",
            request_plane_codec="msgpack",
        )
        await worker.publish(records.card_key, records.card)
        await worker.publish(instance_key(*place, instance_id), msgspec.json.encode(instance))
        await asyncio.to_thread(frontend.wait_listed, "tiny")
        # The file store's TTL is 10 s, the lease's 3 s.
        await asyncio.sleep(12)
        assert frontend.models() == {"tiny"}
        await worker.close()
        await asyncio.to_thread(frontend.process.wait_until, lambda: frontend.models() == set(), "an empty list")
    finally:
        frontend.stop()
        await worker.close()
