"""Bodies that the fast parser reads otherwise than the original does."""

from __future__ import annotations

import math

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
