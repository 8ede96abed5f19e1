"""What cext/json_scan.pyx does, in plain Python."""

import math
import re

DEEPEST, KEY_LEVELS, MOST_KEYS = 128, 3, 64
NUMBER = re.compile(rb"([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|[][{},]|-0(?![.eE])|[0-9][0-9.eE+-]*', re.DOTALL)


def scan_json(text: bytes) -> tuple[int, bool, bool, int]:
    """Only for texts that are JSON."""
    # for every open level the keys of its object, None for an array
    levels: list[list[bytes] | None] = []
    deepest, repeats, minus_zero, beyond, key_next = 0, False, False, 0, False
    for token in TOKEN.finditer(text):
        sign = token[0]
        if sign.startswith(b'"'):
            keys = levels[-1] if levels else None
            if key_next and keys is not None and len(levels) <= KEY_LEVELS:
                if len(keys) == MOST_KEYS or b"\\" in token[1] or token[1] in keys:
                    repeats = True
                else:
                    keys.append(token[1])
            key_next = False
        elif sign in (b"{", b"["):
            if len(levels) == DEEPEST - 1:
                return DEEPEST, repeats, minus_zero, beyond
            levels.append([] if sign == b"{" else None)
            deepest = max(deepest, len(levels))
            key_next = sign == b"{"
        elif sign in (b"}", b"]"):
            levels.pop()
            key_next = False
        elif sign == b",":
            key_next = levels[-1] is not None
        elif sign == b"-0":
            minus_zero = True
        elif not beyond and beyond_double(sign):
            beyond = token.end()
    return deepest, repeats, minus_zero, beyond


def count_values(text: bytes) -> int:
    """Only for texts that are JSON."""
    return 1 + sum(token[0] in (b"{", b"[", b",") for token in TOKEN.finditer(text))


def beyond_double(text: bytes) -> bool:
    """Whether 64 bits of the number's digits, as a double, times a power of ten are infinite."""
    number = NUMBER.fullmatch(text)
    assert number is not None
    significand, power = 0, 0
    for digit in number[1].decode():
        if not power and significand * 10 + int(digit) < 1 << 64:
            significand = significand * 10 + int(digit)
        else:
            power += 1
    for digit in (number[2] or b"").decode():
        if significand * 10 + int(digit) >= 1 << 64:
            break
        significand = significand * 10 + int(digit)
        power -= 1
    power += int(number[3] or 0)
    if not significand or power < 0:
        return False
    return power > 308 or math.isinf(float(significand) * float(f"1e{power}"))
