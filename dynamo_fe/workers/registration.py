"""What a mock worker publishes: its model card and its instance record, in the shapes of Dynamo 1.6.1's mocker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from dynamo_fe.protocol.event_records import (
    SOURCES_PREFIX,
    EventSource,
    SourceMetadata,
    SourceWorker,
    endpoint_scope,
    publisher_key,
)
from dynamo_fe.protocol.events import KV_EVENTS
from dynamo_fe.protocol.instance import InstanceRecord, Transport, instance_key
from dynamo_fe.protocol.kv_recovery import query_endpoint
from dynamo_fe.workers.options import MockOptions

MODELS_PREFIX = "v1/mdc/"

# field of the card, tag of the file in it, file name; the first two are required
_FILES = (
    ("model_info", "hf_config_json", "config.json"),
    ("tokenizer", "hf_tokenizer_json", "tokenizer.json"),
    ("prompt_formatter", "hf_tokenizer_config_json", "tokenizer_config.json"),
    ("gen_config", "hf_generation_config_json", "generation_config.json"),
)
_TEMPLATE_FILE = "chat_template.jinja"
# Tokens that the real mock engine batches in one iteration; frontends weigh prefill load by it.
_MAX_BATCHED_TOKENS = 8192


class Record(msgspec.Struct, frozen=True):
    """A discovery key and its value."""

    key: str
    value: bytes


def endpoint_path(options: MockOptions, instance_id: int) -> str:
    """The path that requests for this instance carry."""
    return f"{instance_id:x}/{options.namespace}/{options.component}/{options.endpoint}"


def instance_record(options: MockOptions, instance_id: int, address: str) -> Record:
    """`address` is the HOST:PORT that frontends reach, IPv6 in brackets."""
    return _instance_record(options, options.endpoint, instance_id, f"{address}/{endpoint_path(options, instance_id)}")


def query_path(options: MockOptions, instance_id: int, publisher_id: int) -> str:
    """The path that recovery queries for a publisher of KV events carry."""
    return f"{instance_id:x}/{options.namespace}/{options.component}/{query_endpoint(publisher_id)}"


def query_record(options: MockOptions, instance_id: int, address: str, publisher_id: int) -> Record:
    """The endpoint that answers recovery queries for a publisher."""
    place = f"{address}/{query_path(options, instance_id, publisher_id)}"
    return _instance_record(options, query_endpoint(publisher_id), instance_id, place)


def source_record(options: MockOptions, instance_id: int, address: str, publisher_id: int, dp_rank: int) -> Record:
    """Says whose cache a publisher speaks of, and where its events can be asked for."""
    target = msgspec.json.decode(query_record(options, instance_id, address, publisher_id).value)
    del target["type"]
    scope = endpoint_scope(options.namespace, options.component, options.endpoint)
    worker = SourceWorker(instance_id, dp_rank)
    source = EventSource(
        scope, KV_EVENTS, publisher_id, SourceMetadata(scope.endpoint, worker, publisher_id, target)
    )
    return Record(publisher_key(SOURCES_PREFIX, scope, KV_EVENTS, publisher_id), msgspec.json.encode(source))


def _instance_record(options: MockOptions, endpoint: str, instance_id: int, place: str) -> Record:
    record = InstanceRecord(
        component=options.component,
        endpoint=endpoint,
        namespace=options.namespace,
        instance_id=instance_id,
        transport=Transport(tcp=place),
        device_type="cuda",
        request_plane_codec=options.codec,
    )
    key = instance_key(options.namespace, options.component, endpoint, instance_id)
    return Record(key, msgspec.json.encode(record))


def model_record(options: MockOptions, instance_id: int) -> Record:
    """The card's record. Raises `OSError` or `ValueError` when the model's files cannot be read."""
    value = {
        "type": "Model",
        "namespace": options.namespace,
        "component": options.component,
        "endpoint": options.endpoint,
        "instance_id": instance_id,
        "card_json": model_card(options),
    }
    key = f"{MODELS_PREFIX}{options.namespace}/{options.component}/{options.endpoint}/{instance_id:x}"
    return Record(key, msgspec.json.encode(value))


def model_card(options: MockOptions) -> dict[str, Any]:
    """The card, with files referred to by local path."""
    directory = options.model_path
    length = context_length(options)
    card: dict[str, Any] = {
        "display_name": options.model_name,
        "slug": slug(options.model_name),
        "source_path": str(directory),
    }
    for field, tag, name in _FILES:
        if (directory / name).is_file():
            card[field] = {tag: file_ref(directory / name)}
    if (directory / _TEMPLATE_FILE).is_file():
        template = {"is_custom": False, "file": file_ref(directory / _TEMPLATE_FILE)}
        card["chat_template_file"] = {"hf_chat_template": template}
    return card | {
        "architectural_max_context_length": architectural_length(directory),
        "context_length": length,
        "kv_cache_block_size": options.kv_block_size,
        "migration_limit": 0,
        "model_type": "Chat | Completions",
        "model_input": "Tokens",
        "worker_type": "aggregated",
        "needs": [],
        "runtime_config": _runtime_config(options, length),
        "media_decoder": None,
        "media_fetcher": None,
    }


def _runtime_config(options: MockOptions, length: int) -> dict[str, Any]:
    """As captured; taints stand there where there are any."""
    taints = {"taints": options.taints} if options.taints else {}
    return taints | {
        "context_length": length,
        "total_kv_blocks": options.total_kv_blocks,
        "max_num_seqs": options.max_concurrency,
        "max_num_batched_tokens": _MAX_BATCHED_TOKENS,
        "tool_call_parser": options.tool_call_parser,
        "reasoning_parser": options.reasoning_parser,
        "tool_call_arguments_format": "json_string",
        "structural_tag_mode": "off",
        "structural_tag_scope": "auto",
        "structural_tag_schema": "auto",
        "exclude_tools_when_tool_choice_none": True,
        "data_parallel_start_rank": 0,
        "data_parallel_size": options.data_parallel_size,
        "enable_local_indexer": options.kv_events,
        "kv_event_publishing_enabled": options.kv_events,
        "runtime_data": {},
        "enable_eagle": False,
    }


def context_length(options: MockOptions) -> int:
    """Tokens of prompt and answer together; 0 = no limit is known."""
    return options.context_length or architectural_length(options.model_path)


def architectural_length(directory: Path) -> int:
    """`max_position_embeddings` of config.json, also of its `text_config`; 0 if it has none."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    length = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return int(length or 0)


def file_ref(path: Path) -> dict[str, Any]:
    """The card's way to name a file: place, plain blake3 of the content, bytes."""
    content = path.read_bytes()
    return {"path": str(path), "checksum": f"blake3:{blake3(content).hexdigest()}", "size": len(content)}


def slug(name: str) -> str:
    """The name made safe for keys and paths."""
    return re.sub(r"[^a-z0-9_-]", "_", name.lower())
