"""The card and the instance record, held against those of Dynamo 1.6.1's own mocker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from dynamo_fe.protocol.card import decode_model_record
from dynamo_fe.protocol.instance import parse_instance
from dynamo_fe.workers.options import parse_options
from dynamo_fe.workers.passages import MODEL_DIR
from dynamo_fe.workers.registration import instance_record, model_record, slug

CAPTURED = json.loads((Path(__file__).parent.parent / "fixtures" / "wire" / "discovery.json").read_text())
INSTANCE_ID = 0x694DA20A8F0A3507


def captured(bucket: str) -> tuple[str, dict[str, Any]]:
    """The mocker's record with local paths."""
    for group in CAPTURED.values():
        for key, value in group.items():
            if key == f"v1/{bucket}/dynamo/backend/generate/{INSTANCE_ID:x}":
                return key, value
    raise AssertionError(f"no record in {bucket}")


def own_card(*argv: str) -> dict[str, Any]:
    value = json.loads(model_record(parse_options(list(argv), {}), INSTANCE_ID).value)
    card: dict[str, Any] = value["card_json"]
    return card


def test_instance_record_is_the_captured_one_with_our_address() -> None:
    record = instance_record(parse_options(["--namespace", "wire"], {}), 0x694DA20A8F0A357F, "192.0.2.2:33733")
    for group in CAPTURED.values():
        if record.key in group:
            assert json.loads(record.value) == group[record.key]
            break
    else:
        raise AssertionError(f"{record.key} is not captured")
    assert parse_instance(record.key, record.value).path == "694da20a8f0a357f/wire/backend/generate"


def test_model_record_has_the_captured_shape() -> None:
    key, theirs = captured("mdc")
    record = model_record(parse_options([], {}), INSTANCE_ID)
    ours = json.loads(record.value)
    assert record.key == key
    assert list(ours) == list(theirs)
    own, other = ours["card_json"], theirs["card_json"]
    assert list(own) == list(other)
    assert list(own["runtime_config"]) == list(other["runtime_config"])
    differing = {name for name in own if own[name] != other[name]}
    assert differing == {
        "source_path", "model_info", "tokenizer", "prompt_formatter", "gen_config", "context_length", "runtime_config",
    }  # fmt: skip
    differing = {name for name, value in own["runtime_config"].items() if value != other["runtime_config"][name]}
    assert differing == {"context_length", "max_num_seqs", "runtime_data"}


def test_our_own_reader_understands_the_card() -> None:
    record = model_record(parse_options(["--context-length", "100"], {}), INSTANCE_ID)
    card = decode_model_record(record.value).card_json
    assert card.effective_context_length() == 100
    assert card.model_types() == {"Chat", "Completions"}


def test_taints_stand_in_the_card_where_there_are_any() -> None:
    assert own_card("--taints", "gold,fast")["runtime_config"]["taints"] == ["fast", "gold"]
    assert "taints" not in own_card()["runtime_config"]


@pytest.mark.parametrize("flag", ["--{}-parser", "--dyn-{}-parser"])
def test_parsers_are_named_in_the_card(flag: str) -> None:
    config = own_card(flag.format("tool-call"), "hermes", flag.format("reasoning"), "qwen3")["runtime_config"]
    assert (config["tool_call_parser"], config["reasoning_parser"]) == ("hermes", "qwen3")


@pytest.mark.parametrize(
    ("field", "tag", "name"),
    [
        ("model_info", "hf_config_json", "config.json"),
        ("tokenizer", "hf_tokenizer_json", "tokenizer.json"),
        ("prompt_formatter", "hf_tokenizer_config_json", "tokenizer_config.json"),
        ("gen_config", "hf_generation_config_json", "generation_config.json"),
    ],
)
def test_files_are_named_by_path_checksum_and_size(field: str, tag: str, name: str) -> None:
    content = (MODEL_DIR / name).read_bytes()
    assert own_card()[field] == {
        tag: {
            "path": str(MODEL_DIR / name),
            "checksum": f"blake3:{blake3(content).hexdigest()}",
            "size": len(content),
        }
    }


def test_another_model_with_a_template_file(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((MODEL_DIR / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    card = own_card("--model-path", str(tmp_path))
    assert "gen_config" not in card and "prompt_formatter" not in card
    template = card["chat_template_file"]["hf_chat_template"]
    assert (template["is_custom"], template["file"]["path"]) == (False, str(tmp_path / "chat_template.jinja"))


@pytest.mark.parametrize(
    ("name", "safe"), [("wiremock", "wiremock"), ("Mock Model/7B.x-Y_z--é", "mock_model_7b_x-y_z--_")]
)
def test_slug_as_the_mocker_makes_it(name: str, safe: str) -> None:
    assert slug(name) == safe
