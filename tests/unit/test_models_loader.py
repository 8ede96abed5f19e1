"""From a card to a served model: files, eos ids, template, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from dynamo_fe.models.checksum import mdc_sum
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.files import local_file
from dynamo_fe.models.loader import eos_token_ids, load_model
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.protocol.card import FileRef, ModelCard
from tests.support.models import TINY_MODEL_DIR


def file(path: Path, named: str | None = None) -> dict[str, Any]:
    content = path.read_bytes()
    return {"path": named or str(path), "checksum": f"blake3:{blake3(content).hexdigest()}", "size": len(content)}


def card_of(directory: Path, **changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "display_name": "tiny",
        "source_path": "tiny",
        "model_info": {"hf_config_json": file(directory / "config.json")},
        "tokenizer": {"hf_tokenizer_json": file(directory / "tokenizer.json")},
        "prompt_formatter": {"hf_tokenizer_config_json": file(directory / "tokenizer_config.json")},
        "gen_config": {"hf_generation_config_json": file(directory / "generation_config.json")},
        "architectural_max_context_length": 4096,
        "model_type": "Chat | Completions",
        "worker_type": "aggregated",
    }
    return msgspec.convert(fields | changes, ModelCard)


@pytest.fixture
async def pool() -> AsyncIterator[TokenizePool]:
    opened = TokenizePool(threads=1, inline_bytes=2048, queue_limit=4)
    yield opened
    opened.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(TINY_MODEL_DIR, target)
    return target


async def test_everything_a_card_names(directory: Path, pool: TokenizePool) -> None:
    card = card_of(directory)
    served = await load_model(card, pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")
    assert (served.name, served.context_length, served.eos_token_ids) == ("tiny", 4096, [1, 5])
    assert served.mdc_sum == mdc_sum(card)
    assert served.template is not None and served.tokenizer is not None
    prompt = served.template.render([{"role": "user", "content": "hello"}], None, True, {})
    # the prompt that the real frontend sent for this conversation
    assert await served.tokenizer.encode(prompt) == [0, 2, 275, 5, 3]
    served.close()


async def test_a_separate_template_wins(directory: Path, pool: TokenizePool) -> None:
    for name, content in {"t.jinja": "J", "t.json": json.dumps({"chat_template": "S"})}.items():
        (directory / name).write_text(content)
    jinja = {"hf_chat_template": {"is_custom": True, "file": file(directory / "t.jinja")}}
    in_json = {"hf_chat_template_json": {"is_custom": False, "file": file(directory / "t.json")}}
    for chat_template_file, expected in ((jinja, "J"), (in_json, "S")):
        card = card_of(directory, chat_template_file=chat_template_file)
        served = await load_model(card, pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")
        assert served.template is not None
        assert served.template.render([], None, True, {}) == expected


async def test_a_template_that_does_not_compile_leaves_completions(directory: Path, pool: TokenizePool) -> None:
    (directory / "t.jinja").write_text("{% if")
    broken = {"hf_chat_template": {"is_custom": True, "file": file(directory / "t.jinja")}}
    card = card_of(directory, chat_template_file=broken)
    served = await load_model(card, pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")
    assert served.template is not None and served.template.fault
    assert served.tokenizer is not None and await served.tokenizer.encode("hello") == [275]


async def test_no_template(directory: Path, pool: TokenizePool) -> None:
    card = card_of(directory, prompt_formatter=None)
    served = await load_model(card, pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")
    assert served.template is None


async def test_a_worker_that_takes_text_needs_no_tokenizer(directory: Path, pool: TokenizePool) -> None:
    card = card_of(directory, tokenizer=None, model_input="Text")
    served = await load_model(card, pool=pool, fast_encoders=FastEncoders())
    assert served.tokenizer is None
    served.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokenizer": None}, "names no tokenizer"),
        ({"tokenizer": {"tik_token_model": {"path": "/x", "checksum": "blake3:0"}}}, "tiktoken"),
        ({"worker_type": "sideways"}, "sideways"),
        ({"model_info": {"hf_config_json": {"path": "/nowhere/c.json", "checksum": "blake3:0"}}}, "--model-path"),
        ({"model_info": {"hf_config_json": {"path": "http://192.0.2.1/c", "checksum": "blake3:0"}}}, "not supported"),
    ],
)
async def test_refusals_say_why(directory: Path, pool: TokenizePool, changes: dict[str, Any], reason: str) -> None:
    card = card_of(directory, **changes)
    with pytest.raises(CardError, match=reason):
        await load_model(card, pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": {"type": "BPE"}}', b"\xff"])
async def test_a_broken_tokenizer_is_a_fault_of_the_card(directory: Path, pool: TokenizePool, content: bytes) -> None:
    (directory / "tokenizer.json").write_bytes(content)
    for mode in ("auto", "default", "fastokens"):
        with pytest.raises(CardError):
            await load_model(card_of(directory), pool=pool, fast_encoders=FastEncoders(), tokenizer_mode=mode)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff"])
async def test_a_broken_config_is_a_fault_of_the_card(directory: Path, pool: TokenizePool, content: bytes) -> None:
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CardError, match=r"config\.json"):
        await load_model(card_of(directory), pool=pool, fast_encoders=FastEncoders(), tokenizer_mode="default")


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [1, 5]}, {"eos_token_id": 1}, [1, 5]),
        ({"eos_token_id": 7}, {"eos_token_id": [1, 7]}, [7, 1]),
        ({}, {"eos_token_id": 3}, [3]),
        ({}, {"text_config": {"eos_token_id": [4, 4]}}, [4]),
        ({"eos_token_id": None}, {"eos_token_id": "x"}, []),
        ({"eos_token_id": [True, -1, 2.0]}, {}, []),
        ({}, {}, []),
    ],
)
def test_eos_ids(generation: dict[str, Any], config: dict[str, Any], expected: list[int]) -> None:
    assert eos_token_ids(generation, config) == expected


class TestFiles:
    def ref(self, directory: Path, **changes: Any) -> FileRef:
        return msgspec.convert(file(directory / "config.json") | changes, FileRef)

    def test_a_path_and_a_file_url(self, directory: Path) -> None:
        path = directory / "config.json"
        assert local_file(self.ref(directory), None) == path
        assert local_file(self.ref(directory, path=path.as_uri()), None) == path

    @pytest.mark.parametrize(
        "elsewhere", ["/nowhere/config.json", "http://192.0.2.1:1/a/config.json", "hf://o/r/config.json"]
    )
    def test_a_copy_in_the_model_path(self, directory: Path, elsewhere: str) -> None:
        ref = self.ref(directory, path=elsewhere)
        assert local_file(ref, directory) == directory / "config.json"

    def test_no_copy_in_the_model_path(self, directory: Path, tmp_path: Path) -> None:
        with pytest.raises(CardError, match="has no"):
            local_file(self.ref(directory, path="/nowhere/config.json"), tmp_path)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"size": 3}, "the card says 3"),
            ({"checksum": "blake3:" + "00" * 32}, "is not the file"),
            ({"checksum": "md5:00"}, "unknown kind"),
        ],
    )
    def test_another_content(self, directory: Path, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(CardError, match=reason):
            local_file(self.ref(directory, **changes), None)

    def test_the_size_may_be_missing(self, directory: Path) -> None:
        assert local_file(self.ref(directory, size=None), None) == directory / "config.json"


async def test_a_family_without_template_has_a_renderer_unless_the_operator_names_a_template(
    directory: Path, pool: TokenizePool
) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"model_type": "deepseek_v32"}))
    hello = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    options: dict[str, Any] = {"pool": pool, "fast_encoders": FastEncoders(), "tokenizer_mode": "default"}
    native = (await load_model(card_of(directory), **options)).template
    assert native is not None and native.render(hello, None, True, {}).endswith("hi<｜Assistant｜><think>")
    (directory / "own.jinja").write_text("OWN")
    own = {"hf_chat_template": {"is_custom": True, "file": file(directory / "own.jinja")}}
    named = (await load_model(card_of(directory, chat_template_file=own), **options)).template
    assert named is not None and named.render(hello, None, True, {}) == "OWN"
