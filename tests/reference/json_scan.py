"""What cext/json_scan.pyx does, in plain Python."""

import re

DEEPEST, KEY_LEVELS, MOST_KEYS = 128, 3, 64
TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|[][{},]|-0(?![.eE])', re.DOTALL)


def scan_json(text: bytes) -> tuple[int, bool, bool]:
    """Only for texts that are JSON."""
    # for every open level the keys of its object, None for an array
    levels: list[list[bytes] | None] = []
    deepest, repeats, minus_zero, key_next = 0, False, False, False
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
                return DEEPEST, repeats, minus_zero
            levels.append([] if sign == b"{" else None)
            deepest = max(deepest, len(levels))
            key_next = sign == b"{"
        elif sign in (b"}", b"]"):
            levels.pop()
            key_next = False
        elif sign == b",":
            key_next = levels[-1] is not None
        else:
            minus_zero = True
    return deepest, repeats, minus_zero
