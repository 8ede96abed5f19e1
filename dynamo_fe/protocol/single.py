"""Numbers of single precision: the original holds most floats so and prints the shortest text that gives them."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Final

_PACKED: Final = struct.Struct("f")
_DIGITS: Final = (6, 7, 8, 9)


def single(value: float) -> float:
    """The nearest number of single precision; infinite beyond its range."""
    try:
        found: float = _PACKED.unpack(_PACKED.pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return found


def shortest(value: float) -> float:
    """The number whose own shortest text is the shortest one of `value` in single precision: -1/3 gives -0.33333334."""
    rounded = single(value)
    if not math.isfinite(rounded):
        return rounded
    for digits in _DIGITS:
        text = f"{rounded:.{digits}g}"
        if single(float(text)) == rounded:
            break
    return float(text)


def plain_text(value: float) -> str:
    """As Rust displays a single: the shortest digits, never an exponent, no `.0`."""
    short = shortest(value)
    if not math.isfinite(short):
        return "NaN" if math.isnan(short) else ("inf" if short > 0 else "-inf")
    text = format(Decimal(repr(short)), "f")
    return text.removesuffix(".0")
