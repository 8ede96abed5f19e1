"""A real worker comes and goes, in etcd and in the file store: our discovery tells it, and its records are readable."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dynamo_fe.discovery.base import Delete
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.protocol.card import decode_model_record
from dynamo_fe.protocol.instance import INSTANCES_PREFIX, instance_key, parse_instance
from tests.support.peer import Mocker
from tests.support.settings import DiscoveryOptions
from tests.support.stores import Store
from tests.support.watching import Watching

BELOW = f"{INSTANCES_PREFIX}dynamo/backend/generate/"
# The real runtime takes its time to start and to stop.
PATIENCE_SECS = 60.0


@pytest.mark.usefixtures("peer_python")
@pytest.mark.parametrize("store_name", ["etcd_server", "file_store"])
async def test_a_real_worker_is_seen(
    store_name: str, request: pytest.FixtureRequest, tmp_path: Path, tiny_model_dir: Path
) -> None:
    store: Store = request.getfixturevalue(store_name)
    options = DiscoveryOptions(
        discovery_backend=store.backend,
        etcd_endpoints=store.environment.get("ETCD_ENDPOINTS"),
        file_kv=store.environment.get("DYN_FILE_KV"),
    )
    frontend = open_discovery(options)
    await frontend.start()
    mocker = Mocker(store, tiny_model_dir, log=tmp_path / "mocker.log", name="tiny")
    try:
        async with Watching(frontend, BELOW) as instances, Watching(frontend, "v1/mdc/") as cards:
            await asyncio.to_thread(mocker.wait_ready)
            await instances.until(lambda: len(instances.state) == 1, PATIENCE_SECS)
            await cards.until(lambda: len(cards.state) == 1, PATIENCE_SECS)
            ((key, value),) = instances.state.items()
            instance = parse_instance(key, value)
            assert instance.transport == "tcp"
            assert instance.path.endswith("dynamo/backend/generate")
            ((card_key, card_value),) = cards.state.items()
            record = decode_model_record(card_value)
            assert record.card_json.display_name == "tiny"
            assert record.instance_id == instance.instance_id
            assert key == instance_key(record.namespace, record.component, record.endpoint, record.instance_id)
            # Alive for longer than the file store's TTL: neither of us takes the other for dead.
            with pytest.raises(TimeoutError):
                await instances.until(lambda: not instances.state, timeout_secs=13.0)
            await asyncio.to_thread(mocker.stop)
            await instances.until(lambda: Delete(key) in instances.events, PATIENCE_SECS)
            await cards.until(lambda: Delete(card_key) in cards.events, PATIENCE_SECS)
    finally:
        mocker.stop()
        await frontend.close()
