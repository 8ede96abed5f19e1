"""Numbers of single precision."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe.protocol.single import plain_text, shortest, single


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.1, "2.1"),
        (4294967296, "4294967300"),
        (1 << 70, "1180591600000000000000"),
        (0, "0"),
        (-0.5, "-0.5"),
        (1e-9, "0.000000001"),
        (1e300, "inf"),
    ],
)
def test_text_is_rusts(value: float, text: str) -> None:
    assert plain_text(value) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_number_stands_for_the_same_single(value: float) -> None:
    assert single(shortest(value)) == value
    assert len(repr(shortest(value))) <= len(repr(value))


def test_digits_are_those_of_a_single() -> None:
    assert shortest(-1 / 3) == -0.33333334 and single(-1 / 3) == struct.unpack("f", struct.pack("f", -1 / 3))[0]
    assert math.isnan(shortest(math.nan)) and shortest(-math.inf) == -math.inf
