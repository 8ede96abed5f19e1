"""Discovery records as workers write them, for tests without a worker."""

from __future__ import annotations

import json
from typing import Any

FILE = {"path": "/models/tiny/tokenizer.json", "checksum": "blake3:" + "7e" * 32, "size": 6367146}


class WorkerRecords:
    """The two records of one worker. `card` are changes to its card; `adapter` makes it that of a LoRA adapter on the
    worker."""

    def __init__(
        self,
        instance_id: int,
        *,
        model: str = "tiny",
        namespace: str = "ns",
        host: str = "192.0.2.2",
        port: int = 0,
        nats: bool = False,
        adapter: str | None = None,
        **card: Any,
    ) -> None:
        self.instance_id = instance_id
        self._place = {"namespace": namespace, "component": "backend", "endpoint": "generate"}
        below = f"{namespace}/backend/generate/{instance_id:x}"
        self.instance_key = f"v1/instances/{below}"
        self.card_key = f"v1/mdc/{below}/{adapter}" if adapter else f"v1/mdc/{below}"
        self._suffix = {"model_suffix": adapter} if adapter else {}
        self._transport = {"tcp": f"{host}:{port or 1024 + instance_id}/{instance_id:x}/{namespace}/backend/generate"}
        if nats:
            self._transport = {"nats_tcp": f"{namespace}_backend.generate-{instance_id:x}"}
        self._card: dict[str, Any] = {
            "display_name": model,
            "slug": model,
            "source_path": "/models/tiny",
            "tokenizer": {"hf_tokenizer_json": FILE},
            "context_length": 0,
            "kv_cache_block_size": 64,
            "migration_limit": 0,
            "model_type": "Chat | Completions",
            "model_input": "Tokens",
            "worker_type": "aggregated",
            "needs": [],
            "runtime_config": {},
        } | card
        if adapter:
            self._card |= {"display_name": adapter, "lora": {"name": adapter}}

    @property
    def instance(self) -> bytes:
        transport = {"transport": self._transport, "request_plane_codec": "msgpack"}
        return json.dumps({"type": "Endpoint", "instance_id": self.instance_id} | self._place | transport).encode()

    @property
    def card(self) -> bytes:
        return json.dumps(
            {"type": "Model", "instance_id": self.instance_id, "card_json": self._card} | self._place | self._suffix
        ).encode()
