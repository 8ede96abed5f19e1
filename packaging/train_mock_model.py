"""Makes the mock worker's model out of its corpus: the same corpus and template always give the same bytes.

    python packaging/train_mock_model.py [DIRECTORY]

Trains a byte-level BPE tokenizer on dynamo_fe/workers/model/corpus.txt and writes tokenizer.json,
tokenizer_config.json, config.json and generation_config.json into DIRECTORY, by default next to the corpus.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
MODEL_DIR = HERE.parent / "dynamo_fe" / "workers" / "model"
TEMPLATE = HERE / "mock_chat_template.jinja"

# Learned entries, the 256 bytes included. At this size the corpus takes about 1.4 tokens a word, as large
# vocabularies do on English.
LEARNED_TOKENS = 3072
CONTEXT_LENGTH = 32768

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [END_OF_TEXT, TURN_START, TURN_END]
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def train(corpus: str) -> Tokenizer:
    """The tokenizer: learned entries first, then the special tokens, then the markup that clients may see."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED_TOKENS,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([corpus], trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in MARKUP])
    return tokenizer


def model_files(corpus: str, template: str) -> dict[str, str]:
    """File name to content."""
    tokenizer = train(corpus)
    end_of_text, turn_end = tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(TURN_END)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_LENGTH,
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": turn_end,
        "torch_dtype": "bfloat16",
    }
    tokenizer_config = {
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "model_max_length": CONTEXT_LENGTH,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": template,
    }
    generation_config = {"eos_token_id": [turn_end, end_of_text], "pad_token_id": end_of_text}
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(tokenizer_config, indent=1) + "\n",
        "config.json": json.dumps(config, indent=1) + "\n",
        "generation_config.json": json.dumps(generation_config, indent=1) + "\n",
    }


def main(argv: list[str]) -> int:
    target = Path(argv[0]) if argv else MODEL_DIR
    corpus = (MODEL_DIR / "corpus.txt").read_text(encoding="utf-8")
    for name, content in model_files(corpus, TEMPLATE.read_text(encoding="utf-8")).items():
        (target / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
