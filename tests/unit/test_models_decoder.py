"""Incremental decoding of the families that go through the library."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dynamo_fe._cext.detokenizer import DecodeTable
from dynamo_fe.models.decoder import LibraryDecoder
from dynamo_fe.models.vocabulary import LibraryVocabulary, TableVocabulary
from tests.support.tokenizers import LIBRARY_FAMILIES, TEXTS

WORDS = sorted({word for text in TEXTS for word in text.split()}) + ["😀", "zebra", "<tool>"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@cache
def trained(family: str) -> Tokenizer:
    return LIBRARY_FAMILIES[family]()


@pytest.mark.parametrize("family", LIBRARY_FAMILIES)
@settings(max_examples=60)
@given(prompt=SENTENCES, answer=SENTENCES, size=st.integers(1, 5))
@example(prompt="", answer="! 😀 😀", size=5)
def test_prompt_and_answer_joined_are_the_text_of_all_tokens(family: str, prompt: str, answer: str, size: int) -> None:
    tokenizer = trained(family)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    ids = tokenizer.encode(answer, add_special_tokens=False).ids
    decoder = LibraryDecoder(tokenizer, True, prompt_ids)
    text = "".join(decoder.push(ids[at : at + size]) for at in range(0, len(ids), size)) + decoder.flush()
    assert tokenizer.decode(prompt_ids) + text == tokenizer.decode(prompt_ids + ids)


@pytest.mark.parametrize("family", LIBRARY_FAMILIES)
def test_a_word_behind_a_prompt_keeps_its_blank(family: str) -> None:
    tokenizer = trained(family)
    prompt_ids = tokenizer.encode("hello world", add_special_tokens=False).ids
    ids = tokenizer.encode("the dog", add_special_tokens=False).ids
    decoder = LibraryDecoder(tokenizer, True, prompt_ids)
    assert "".join(decoder.push([token_id]) for token_id in ids) == " the dog"


def test_a_character_in_bytes_comes_out_whole() -> None:
    tokenizer = trained("byte-fallback")
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "😀".encode()]
    decoder = LibraryDecoder(tokenizer, True, [])
    assert [decoder.push([token_id]) for token_id in ids] == ["", "", "", "😀"]
    assert decoder.flush() == ""


def test_an_unfinished_character_comes_out_at_the_end() -> None:
    tokenizer = trained("byte-fallback")
    decoder = LibraryDecoder(tokenizer, True, [])
    assert decoder.push([tokenizer.token_to_id("<0xF0>"), tokenizer.token_to_id("<0x9F>")]) == ""
    assert decoder.flush() == "\ufffd\ufffd"
    assert decoder.flush() == ""


def test_bytes_that_never_make_a_character_are_not_held_for_ever() -> None:
    tokenizer = trained("byte-fallback")
    decoder = LibraryDecoder(tokenizer, True, [])
    byte = tokenizer.token_to_id("<0x80>")
    seen = "".join(decoder.push([byte]) for _ in range(1000))
    assert len(seen) >= 990
    assert seen + decoder.flush() == "\ufffd" * 1000


def test_bad_bytes_behind_good_ones_do_not_repeat_what_was_given_out() -> None:
    tokenizer = trained("byte-fallback")
    good = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "€".encode()]
    decoder = LibraryDecoder(tokenizer, True, [])
    assert decoder.push(good) == "€"
    assert decoder.push([tokenizer.token_to_id("<0x80>")]) + decoder.flush() == "\ufffd"


@pytest.mark.parametrize("skip", [True, False])
def test_special_tokens(skip: bool) -> None:
    tokenizer = trained("unigram")
    end = tokenizer.token_to_id("</s>")
    hello = tokenizer.encode("hello", add_special_tokens=False).ids
    decoder = LibraryDecoder(tokenizer, skip, hello)
    text = decoder.push([end]) + decoder.push([end]) + decoder.push(hello) + decoder.flush()
    assert tokenizer.decode(hello) + text == tokenizer.decode([*hello, end, end, *hello], skip_special_tokens=skip)


def test_unknown_ids_decode_to_nothing() -> None:
    decoder = LibraryDecoder(trained("unigram"), True, [])
    assert decoder.push([999_999]) == ""
    assert decoder.flush() == ""


@pytest.mark.parametrize("family", LIBRARY_FAMILIES)
def test_single_tokens(family: str) -> None:
    tokenizer = trained(family)
    vocabulary = LibraryVocabulary(tokenizer)
    assert vocabulary.size == tokenizer.get_vocab_size()
    assert vocabulary.is_special(tokenizer.token_to_id("</s>"))
    assert not vocabulary.is_special(tokenizer.token_to_id("<tool>"))
    assert vocabulary.token_bytes(tokenizer.token_to_id("<tool>")) == b"<tool>"
    assert vocabulary.token_bytes(vocabulary.size) == b"" == vocabulary.token_bytes(-1)


class TestPromptThatEndsInsideACharacter:
    """The original shows neither the character nor a replacement for it; only whole characters of the answer."""

    TOKENS = ["€".encode()[:1], "€".encode()[1:2], "€".encode()[2:], b"a"]

    def text(self, prompt_ids: list[int], ids: list[int]) -> str:
        decoder = TableVocabulary(DecodeTable(self.TOKENS, set())).decoder(True, prompt_ids)
        return "".join(decoder.push([token_id]) for token_id in ids) + decoder.flush()

    def test_completed_by_the_answer(self) -> None:
        assert self.text([3, 0], [1, 2, 3]) == "a"

    def test_never_completed(self) -> None:
        assert self.text([3, 0, 1], [3, 3]) == "aa"

    def test_nothing_follows(self) -> None:
        assert self.text([0], []) == ""

    def test_a_whole_prompt_has_no_influence(self) -> None:
        assert self.text([0, 1, 2], [0, 1, 2, 3]) == "€a"
