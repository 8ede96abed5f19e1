"""Cards of real workers: read, and their checksum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe.models.checksum import mdc_sum
from dynamo_fe.protocol.card import ModelCard, RuntimeConfig, decode_model_record

LINES = (Path(__file__).parent.parent / "fixtures" / "cards" / "records.jsonl").read_text().splitlines()
CAPTURES: dict[str, dict[str, Any]] = {
    line["record"]["card_json"]["display_name"]: line for line in map(json.loads, LINES)
}
FILE = {"path": "/m/x.json", "checksum": "blake3:" + "ab" * 32, "size": 1}


def read(card: dict[str, Any]) -> ModelCard:
    return msgspec.convert(card, ModelCard)


@pytest.mark.parametrize("name", CAPTURES)
def test_checksum_is_that_of_the_real_frontend(name: str) -> None:
    record = decode_model_record(json.dumps(CAPTURES[name]["record"]).encode())
    assert mdc_sum(record.card_json) == CAPTURES[name]["mdc_sum"]


@pytest.mark.parametrize(
    "change",
    [
        {"display_name": "other"},
        {"source_path": "other"},
        {"tokenizer": {"hf_tokenizer_json": FILE}},
        {"chat_template_file": {"hf_chat_template": {"is_custom": True, "file": FILE}}},
        {"chat_template_file": {"hf_chat_template_json": {"is_custom": False, "file": FILE}}},
        {"extra_files": [FILE]},
        {"prompt_context": ["llama3_date_time"]},
        {"runtime_config": {"context_length": 5}},
        {"kv_cache_block_size": 64},
        {"worker_type": None},
        {"needs": [["prefill"]]},
        {"router_config": {"router_mode": "kv"}},
        {"aliases": ["b"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_about_prompts_counts(change: dict[str, Any]) -> None:
    card = CAPTURES["plain"]["record"]["card_json"]
    assert mdc_sum(read(card | change)) != mdc_sum(read(card))


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "Chat"},
        {"model_input": "Text"},
        {"user_data": {"a": 1}},
        {"runtime_config": {"max_num_seqs": 5, "reasoning_parser": "qwen3"}},
        {"lora": {"name": "l"}},
        {"aliases": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_an_engine_can_do_does_not_count(change: dict[str, Any]) -> None:
    card = CAPTURES["plain"]["record"]["card_json"]
    assert mdc_sum(read(card | change)) == mdc_sum(read(card))


def test_extra_files_count_in_any_order() -> None:
    card = CAPTURES["plain"]["record"]["card_json"]
    files = [FILE, FILE | {"path": "/m/a.json"}]
    assert mdc_sum(read(card | {"extra_files": files})) == mdc_sum(read(card | {"extra_files": files[::-1]}))


def test_an_unknown_stage_is_an_error() -> None:
    with pytest.raises(ValueError, match="sideways"):
        mdc_sum(ModelCard(display_name="m", worker_type="sideways"))


def test_context_length_is_the_engines_then_the_architectures() -> None:
    card = ModelCard(display_name="m", architectural_max_context_length=4096)
    assert card.effective_context_length() == 4096
    assert msgspec.structs.replace(card, runtime_config=RuntimeConfig(context_length=0)).effective_context_length() == 0
    assert ModelCard(display_name="m").effective_context_length() == 0


def test_unknown_fields_are_ignored_and_wrong_types_are_not() -> None:
    record = {"type": "Model", "namespace": "n", "component": "c", "endpoint": "e", "instance_id": 2**63 + 5}
    card = {"display_name": "m", "from_the_future": [1], "runtime_config": {"later": {}}}
    read_back = decode_model_record(json.dumps(record | {"card_json": card}).encode())
    assert read_back.instance_id == 2**63 + 5
    with pytest.raises(msgspec.ValidationError, match="kv_cache_block_size"):
        decode_model_record(json.dumps(record | {"card_json": card | {"kv_cache_block_size": "x"}}).encode())
    with pytest.raises(msgspec.ValidationError):
        decode_model_record(json.dumps(record | {"type": "Endpoint", "card_json": card}).encode())


def test_endpoint_kinds() -> None:
    assert ModelCard(display_name="m", model_type="Chat | Completions").model_types() == {"Chat", "Completions"}
    assert ModelCard(display_name="m", model_type="").model_types() == frozenset()
