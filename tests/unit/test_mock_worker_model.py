"""The mock worker's own model: made from its corpus alone, and usable as any other."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest
from tokenizers import Tokenizer

from dynamo_fe.workers.passages import CORPUS, MODEL_DIR

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"


@pytest.fixture(scope="module")
def trainer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_mock_model", PACKAGING / "train_mock_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))


def test_training_again_gives_the_committed_bytes(trainer: ModuleType, tmp_path: Path) -> None:
    assert trainer.main([str(tmp_path)]) == 0
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    for name in made:
        assert (tmp_path / name).read_bytes() == (MODEL_DIR / name).read_bytes(), name


def test_the_corpus_comes_back_whole(tokenizer: Any) -> None:
    text = CORPUS.read_text(encoding="utf-8")
    ids = tokenizer.encode_batch_fast([text])[0].ids
    assert tokenizer.decode(ids) == text
    assert len(ids) / len(text.split()) < 1.5


@pytest.mark.parametrize("text", ["naïve Größe 漢字 \N{WAVING HAND SIGN}\x00\r\n\t", "x" * 500, "", "\ufffd"])
def test_text_outside_the_corpus_comes_back_whole(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode_batch_fast([text])[0].ids) == text


def test_special_tokens_are_hidden_and_markup_is_not(tokenizer: Any) -> None:
    ids = tokenizer.encode_batch_fast(["<|im_start|><think>a</think><tool_call>b</tool_call><|im_end|>"])[0].ids
    assert len(ids) == 8
    assert tokenizer.decode(ids) == "<think>a</think><tool_call>b</tool_call>"


def test_eos_ids_of_the_files_agree_with_the_tokenizer(tokenizer: Any) -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    generation = json.loads((MODEL_DIR / "generation_config.json").read_text())
    assert config["eos_token_id"] == tokenizer.token_to_id("<|im_end|>")
    assert generation["eos_token_id"] == [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    assert (config["vocab_size"], config["max_position_embeddings"]) == (tokenizer.get_vocab_size(), 32768)


def render(**variables: Any) -> str:
    template = json.loads((MODEL_DIR / "tokenizer_config.json").read_text())["chat_template"]
    variables = {"tools": None, "add_generation_prompt": True} | variables
    return jinja2.Environment().from_string(template).render(variables)


USER = {"role": "user", "content": "hi"}


def test_template_of_a_plain_chat() -> None:
    messages = [{"role": "system", "content": "Be short."}, USER]
    assert render(messages=messages) == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert not render(messages=messages, add_generation_prompt=False).endswith("assistant\n")


def test_template_switches_thinking_off() -> None:
    assert render(messages=[USER], enable_thinking=False).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render(messages=[USER], enable_thinking=True).endswith("assistant\n")


def test_template_joins_text_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert "user\na[image]b<|im_end|>" in render(messages=[{"role": "user", "content": parts}])


def test_template_of_a_tool_conversation() -> None:
    call = {"function": {"name": "get_weather", "arguments": {"location": "Bern"}}}
    text = render(
        messages=[
            {"role": "system", "content": "Be short."},
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "snow"},
        ],
        tools=[{"type": "function", "function": {"name": "get_weather"}}],
    )
    assert text.count("<|im_start|>system") == 1
    assert '"name": "get_weather"' in text.split("<|im_end|>")[0]
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Bern"}}\n</tool_call><|im_end|>' in text
    assert "<|im_start|>user\n<tool_response>\nsnow\n</tool_response><|im_end|>" in text
