"""The fewest tokens of a text: never more than it has, and unknown where something may shorten it before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dynamo_fe._cext.detokenizer import DecodeTable
from dynamo_fe.models.token_bound import longest_token_bytes
from dynamo_fe.models.vocabulary import read_vocabulary
from tests.support.models import TINY_MODEL_DIR

TINY = TINY_MODEL_DIR / "tokenizer.json"
BYTES = [bytes([number]) for number in range(256)]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
ISOLATED = {"type": "Split", "behavior": "Isolated"}
PLAIN: dict[str, Any] = {"normalizer": None, "pre_tokenizer": BYTE_LEVEL, "truncation": None, "swallows_blanks": False}

vocabulary = read_vocabulary(TINY)
tokenizer = Tokenizer.from_file(str(TINY))


@given(st.one_of(st.text(max_size=200), st.text("the quick brown fox</s>", max_size=200)))
def test_no_text_has_fewer(text: str) -> None:
    assert vocabulary is not None
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    assert vocabulary.least_tokens(text) <= len(encoding)


def test_a_long_text_has_many() -> None:
    assert vocabulary is not None and vocabulary.least_tokens("a" * 10_000) > 500


@pytest.mark.parametrize(
    "member",
    [
        {},
        {"normalizer": {"type": "Sequence", "normalizers": []}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [ISOLATED, BYTE_LEVEL]}},
    ],
)
def test_nothing_of_the_text_is_lost(member: dict[str, Any]) -> None:
    table = DecodeTable([*BYTES, b"four"], set())
    assert longest_token_bytes(table, **{**PLAIN, **member}) == 4


@pytest.mark.parametrize(
    "member",
    [
        {"normalizer": {"type": "NFC"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Strip"}]}},
        {"pre_tokenizer": {"type": "Split", "behavior": "Removed"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"truncation": {"max_length": 8}},
        {"swallows_blanks": True},
    ],
)
def test_something_may_be_lost(member: dict[str, Any]) -> None:
    table = DecodeTable([*BYTES, b"four"], set())
    assert longest_token_bytes(table, **{**PLAIN, **member}) == 0


def test_a_byte_without_a_token_may_be_lost() -> None:
    assert longest_token_bytes(DecodeTable([*BYTES[:255], b"four"], set()), **PLAIN) == 0
