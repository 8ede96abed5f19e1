"""The compiled framer says byte for byte what its plain-Python statement says."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.sse_frame import TextFramer, json_string
from tests.reference import sse_frame as reference

SPECIAL = st.sampled_from(
    ["\u0085", "\u2028", "\u2029", "\u20ac", "\u00e9", "\\", '"', "\n", "\x00", "\x1f", "\x7f", "😀", "â\u0080"]
)
TEXTS = st.lists(st.one_of(st.text(max_size=40), SPECIAL), max_size=30).map("".join)


@given(TEXTS)
def test_strings_equal_the_reference(text: str) -> None:
    assert json_string(text) == reference.json_string(text)
    assert orjson.loads(json_string(text)) == text


@given(st.binary(max_size=60), TEXTS, st.binary(max_size=60))
def test_frames_equal_the_reference(head: bytes, text: str, tail: bytes) -> None:
    assert TextFramer(head, tail).frame(text) == reference.TextFramer(head, tail).frame(text)


@given(TEXTS)
def test_no_line_end_of_any_kind_is_left_in_a_frame(text: str) -> None:
    assert len(json_string(text).decode().splitlines()) == 1


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        json_string(text)
