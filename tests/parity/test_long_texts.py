"""The compiled lifting of texts does what its plain-Python statement does, and survives any other bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.long_texts import lift_texts
from tests.reference import long_texts as reference

MARK = b"@"
TEXTS = st.one_of(st.text(max_size=12), st.text("ab\n\t\"\\/é€😀\x7f\x80ÿĀ", max_size=12))
DOCUMENTS = st.recursive(
    st.one_of(TEXTS, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)


@given(DOCUMENTS, st.integers(0, 8), st.booleans(), st.sampled_from([None, 1]))
def test_json_equals_the_reference(document: Any, least: int, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert lift_texts(body, least, MARK) == reference.lift_texts(body, least, MARK)


@given(st.lists(st.sampled_from(
    ["a", "é", "\\n", "\\/", "\\u00e9", "\\uD83D", "\\ude00", "\\u12", "\\x", "\x01", "\\ud83d\\ude00", "\\u0000", "€"]
), max_size=6))  # fmt: skip
def test_strings_that_may_be_wrong_equal_the_reference(parts: list[str]) -> None:
    body = ('["' + "".join(parts) + '"]').encode()
    assert lift_texts(body, 0, MARK) == reference.lift_texts(body, 0, MARK)


@pytest.mark.parametrize(
    "inside",
    [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xc3"],
)
def test_what_is_no_utf_8_stays(inside: bytes) -> None:
    body = b'["' + inside + b'", "b"]'
    assert lift_texts(body, 1, MARK) == (b'["' + inside + b'", "@0"]', ["b"])


def test_what_is_lifted() -> None:
    body = b'{"long key": "long text", "a": ["short", "another\\n\\u20ac"]}'
    assert lift_texts(body, 8, MARK) == (b'{"long key": "@0", "a": ["short", "@1"]}', ["long text", "another\n€"])
    assert lift_texts(b"[" + b'"x",' * 69 + b'"x"]', 1, MARK)[1] == ["x"] * 64


@given(st.binary(max_size=60), st.integers(0, 3))
def test_no_bytes_do_harm(body: bytes, least: int) -> None:
    rest, texts = lift_texts(body, least, MARK)
    assert len(texts) <= 64 and len(rest) <= len(body) + 3 * len(texts)


@given(st.text('"\\aué ,:[', max_size=40))
def test_no_quotes_do_harm(text: str) -> None:
    lift_texts(text.encode(), 0, MARK)
