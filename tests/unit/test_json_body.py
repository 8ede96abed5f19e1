"""Bodies that the fast parser reads otherwise than the original does."""

from __future__ import annotations

import json
import math
import re

import pytest

from dynamo_fe.http.json_body import BadJson, read_json

KNOWN = frozenset(("model", "messages", "nvext"))


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b'{"a":"x\x01\ny"}', {"a": "x\x01\ny"}),
        (b'{"a":18446744073709551615}', {"a": 18446744073709551615}),
        (b'{"a":"\xff","b":18446744073709551616}', {"a": "\ufffd", "b": 18446744073709551616.0}),
        (b'{"other":1,"other":2}', {"other": 2}),
        (b'{"messages":[{"role":"content","content":"role"}]}', {"messages": [{"role": "content", "content": "role"}]}),
    ],
)
def test_what_the_original_takes(body: bytes, document: object) -> None:
    assert read_json(body, KNOWN) == document


def test_minus_zero_is_a_float() -> None:
    value = read_json(b'{"a": -0}', KNOWN)["a"]
    assert isinstance(value, float) and math.copysign(1, value) < 0
    assert read_json(b'{"a":"2026-01-01"}', KNOWN) == {"a": "2026-01-01"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"messages":[{"role":"user","content":"a","content":"b"}]}', "content"),
        (b'{"nvext":{"cache_salt":"a","cache_salt":"b"}}', "cache_salt"),
    ],
)
def test_a_known_key_given_twice_is_named(body: bytes, field: str) -> None:
    with pytest.raises(BadJson, match=f"duplicate field `{field}`") as caught:
        read_json(body, KNOWN)
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b" ", b"{", b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":01}', b"{} x", b"\xff"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(BadJson):
        read_json(body, KNOWN)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":{"b":1e400}}', "number out of range at line 1 column 15"),
        (b'{\n"a":-' + b"1" * 320 + b"}", "number out of range at line 2 column 325"),
        (b'{"a":"\xff","b":1e400}', "number out of range at line 1 column 18"),
        (b'{"a":"x', "Unterminated string starting at line 1 column 6"),
        (b'{"a":"\\ud800"}', "lone surrogate in a string: code points from D800 to DFFF stand in pairs"),
        (b"\xef\xbb\xbf{}", "byte order mark before the document at line 1 column 1"),
    ],
)
def test_reasons_are_in_words_of_json(body: bytes, reason: str) -> None:
    with pytest.raises(BadJson) as caught:
        read_json(body, KNOWN)
    assert str(caught.value) == reason


@pytest.mark.parametrize(("levels", "taken"), [(126, True), (127, False), (100_000, False)])
def test_nesting_ends_at_128_levels(levels: int, taken: bool) -> None:
    body = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
    if taken:
        assert "a" in read_json(body, KNOWN)
    else:
        with pytest.raises(BadJson):
            read_json(body, KNOWN)


LONG = "a\n\"é€😀" * 30_000


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "messages": [{"role": "user", "content": LONG}, {"content": [{"text": LONG}, 1]}], "n": None},
        {"a": "x" * 600_000, "b": ["y" * 131_072, "z" * 131_071]},
        {LONG: LONG},
        [LONG],
        LONG,
        {"content": LONG, "numbers": list(range(100_000))},
    ],
    ids=["messages", "plain", "key", "array", "text alone", "much beside"],
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_long_texts_are_what_they_were(document: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(document, ensure_ascii=ascii_only).encode(), KNOWN) == document


def test_long_texts_leave_the_rest_as_strict_as_it_is() -> None:
    long = '"' + "x" * 600_000 + '"'
    for body, reason in (
        (f'{{"model": 1, "model": {long}}}', "duplicate field `model`"),
        (f'{{"a": {long}, "b": 1e400}}', "number out of range at line 1 column 600020"),
        (f'{{"a": {long}, "b": }}', "line 1 column 600016"),
        (f'{{"a": {long[:-1]}\\ud83d"}}', "lone surrogate"),
        (f'{{"a": {long}', "line 1 column"),
    ):
        with pytest.raises(BadJson, match=re.escape(reason)):
            read_json(body.encode(), KNOWN)
    minus_zero = read_json(f'{{"a": {long}, "b": -0}}'.encode(), KNOWN)["b"]
    assert math.copysign(1, minus_zero) == -1 and isinstance(minus_zero, float)
