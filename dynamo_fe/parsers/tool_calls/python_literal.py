"""Python literals as JSON: read character by character, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.tool_calls.blocks import another_member
from dynamo_fe.parsers.tool_calls.json_text import escaped

# Nesting that is followed; a generator of each level is alive.
_MOST_DEPTH: Final = 64
_MOST_WORD: Final = 4096
_WORD: Final = re.compile(r"[-+.\w]*")
_WORDS: Final = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_NUMBER: Final = re.compile(r"[-+]?(?:\d[\d_]*)?(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
_HEX_NUMBER: Final = re.compile(r"([-+]?)0[xX]([0-9a-fA-F]{1,64})")
_CLOSERS: Final = {"[": "]", "(": ")", "{": "}"}
_ESCAPES: Final = {
    "\n": "", "\\": "\\", "'": "'", '"': '"',
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_CODES: Final = {"x": 2, "u": 4, "U": 8}
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_RUNS: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}

Emit = Callable[[str], None]


def copy_literal(feed: Feed, emit: Emit, depth: int = 0) -> Reading[None]:
    """Hands on the JSON text of the literal that comes next: a string, number, word, list, tuple or dict. Raises
    Unreadable for all else, Cut where the answer ends in it.
    """
    yield from feed.skip_space()
    char = yield from feed.need()
    if char in "\"'":
        yield from _string(feed, emit)
    elif char in "[(":
        yield from _list(feed, emit, depth + 1)
    elif char == "{":
        yield from _dict(feed, emit, depth + 1)
    else:
        emit((yield from _word(feed)))


def _list(feed: Feed, emit: Emit, depth: int) -> Reading[None]:
    if depth > _MOST_DEPTH:
        raise Unreadable
    closer = _CLOSERS[feed.text[feed.at]]
    feed.at += 1
    emit("[")
    comma = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == closer:
            break
        emit(comma)
        yield from copy_literal(feed, emit, depth)
        if not (yield from another_member(feed, closer)):
            break
        comma = ", "
    feed.at += 1
    emit("]")


def _dict(feed: Feed, emit: Emit, depth: int) -> Reading[None]:
    if depth > _MOST_DEPTH:
        raise Unreadable
    feed.at += 1
    emit("{")
    comma = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == "}":
            break
        emit(comma)
        yield from _key(feed, emit)
        yield from copy_literal(feed, emit, depth)
        if not (yield from another_member(feed, "}")):
            break
        comma = ", "
    feed.at += 1
    emit("}")


def _key(feed: Feed, emit: Emit) -> Reading[None]:
    """A key of a dict with its colon; what is no string becomes one, as JSON demands."""
    if (yield from feed.need()) in "\"'":
        yield from _string(feed, emit)
    else:
        emit('"' + (yield from _word(feed)) + '"')
    yield from feed.skip_space()
    if (yield from feed.need()) != ":":
        raise Unreadable
    feed.at += 1
    emit(": ")


def _word(feed: Feed) -> Reading[str]:
    while True:
        found = _WORD.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end < len(feed.text) or feed.ended or end - feed.at > _MOST_WORD:
            break
        yield
    if feed.ended and end == len(feed.text) and end == feed.at:
        raise Cut
    text = _json_word(feed.text[feed.at : end])
    feed.at = end
    return text


def _json_word(word: str) -> str:
    """A constant or a number as JSON writes it; the digits stay as they are."""
    if word in _WORDS:
        return _WORDS[word]
    in_hex = _HEX_NUMBER.fullmatch(word)
    if in_hex:
        return in_hex[1].lstrip("+") + str(int(in_hex[2], 16))
    if not _NUMBER.fullmatch(word) or not any(char.isdigit() for char in word) or len(word) > _MOST_WORD:
        raise Unreadable
    sign = "-" if word.startswith("-") else ""
    whole, point, rest = word.lstrip("+-").replace("_", "").partition(".")
    mantissa, e, exponent = (rest if point else whole).replace("E", "e").partition("e")
    digits = (whole if point else mantissa).lstrip("0") or "0"
    return sign + digits + ("." + (mantissa or "0") if point else "") + (e + exponent)


def _string(feed: Feed, emit: Emit) -> Reading[None]:
    quote = feed.text[feed.at]
    feed.at += 1
    emit('"')
    if (yield from feed.accept(quote)):
        if not (yield from feed.accept(quote)):
            emit('"')
            return
        yield from _rest_of_string(feed, emit, quote, 3)
    else:
        yield from _rest_of_string(feed, emit, quote, 1)
    emit('"')


def _rest_of_string(feed: Feed, emit: Emit, quote: str, quotes: int) -> Reading[None]:
    closer = quote * quotes
    while True:
        found = _RUNS[quote].match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end > feed.at:
            emit(escaped(feed.text[feed.at : end]))
            feed.at = end
        char = yield from feed.need()
        if char == "\\":
            emit(escaped((yield from _escape(feed))))
        elif (yield from feed.accept(closer)):
            return
        elif char == quote:
            feed.at += 1
            emit(escaped(quote))


def _escape(feed: Feed) -> Reading[str]:
    """The character an escape stands for; one that Python does not know stays as it is."""
    size = 2
    while True:
        have = feed.text[feed.at : feed.at + size]
        if len(have) > 1:
            size = 2 + _CODES.get(have[1], 0)
        if len(have) == size:
            break
        if feed.ended:
            raise Cut
        yield
    if size == 2:
        feed.at += 2
        return _ESCAPES.get(have[1], have)
    if not _HEX.fullmatch(have, 2):
        raise Unreadable
    code = int(have[2:], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise Unreadable
    feed.at += size
    return chr(code)
