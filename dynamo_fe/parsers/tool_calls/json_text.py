"""JSON as it comes: copied on verbatim, checked to be JSON, held to no more than the next token.

Control characters that a model wrote into a string as they are become escapes; all else is the model's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable, complete

_RUN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_LOOSE_RUN: Final = re.compile(r'[^"\\<\x00-\x1f]*')
_SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_SCALAR_RUN: Final = re.compile(r"[-+.0-9A-Za-z]*")
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPE_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
# between strings and brackets; "<" begins the markers of formats
_BETWEEN: Final = re.compile(r'[^"{}\[\]<]+')
# longest number or word that is waited for
_MOST_SCALAR: Final = 4096

Emit = Callable[[str], None]


def drop(text: str) -> None:
    """An Emit for what nobody wants."""


def escaped(text: str) -> str:
    """The text as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _BadEscape(Unreadable):
    """A backslash in a string with nothing behind it that JSON knows."""


def copy_value(feed: Feed, emit: Emit, solid: Callable[[], None]) -> Reading[None]:
    """Copies the JSON value that comes next, its blanks included. `solid` is called, perhaps often, once something of
    it has come that is a value for certain. Raises Unreadable where it is no JSON, Cut where the answer ends in it.
    """
    yield from _copy_value(feed, emit, solid, [])


def copy_arguments(feed: Feed, emit: Emit, solid: Callable[[], None]) -> Reading[None]:
    """The same for a value that may be on its way already: a mistake behind the first solid part is the model's own,
    and the rest is copied as it was written up to where the brackets balance, or to what may be a marker.
    """
    closers: list[str] = []
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True
        solid()

    try:
        yield from _copy_value(feed, emit, begin, closers)
    except Unreadable as mistake:
        if not begun:
            raise
        if isinstance(mistake, _BadEscape):
            yield from copy_string(feed, emit, strict=False)
        yield from _copy_rest(feed, emit, len(closers))


def _copy_rest(feed: Feed, emit: Emit, depth: int) -> Reading[None]:
    while depth:
        char = yield from feed.need()
        if char == "<":
            return
        found = _BETWEEN.match(feed.text, feed.at)
        end = found.end() if found else feed.at + 1
        emit(feed.text[feed.at : end])
        feed.at = end
        if char == '"':
            yield from _copy_loose(feed, emit)
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1


def _copy_value(feed: Feed, emit: Emit, solid: Callable[[], None], closers: list[str]) -> Reading[None]:
    while True:
        yield from _copy_blanks(feed, emit)
        char = yield from feed.need()
        if char == "{" or char == "[":
            feed.at += 1
            emit(char)
            closers.append("}" if char == "{" else "]")
            yield from _copy_blanks(feed, emit)
            first = yield from feed.need()
            if first != closers[-1]:
                if char == "{":
                    yield from _copy_key(feed, emit)
                continue
        elif char == '"':
            feed.at += 1
            emit(char)
            solid()
            yield from copy_string(feed, emit)
        else:
            emit((yield from _scalar(feed)))
            solid()
        if not (yield from _close(feed, emit, closers, solid)):
            return


def _close(feed: Feed, emit: Emit, closers: list[str], solid: Callable[[], None]) -> Reading[bool]:
    """After a value: what closes, up to where the next value begins; False when the outermost is closed."""
    while closers:
        yield from _copy_blanks(feed, emit)
        char = yield from feed.need()
        feed.at += 1
        if char == closers[-1]:
            emit(char)
            closers.pop()
            solid()
            continue
        if char != ",":
            feed.at -= 1
            raise Unreadable
        emit(char)
        if closers[-1] == "}":
            yield from _copy_blanks(feed, emit)
            yield from _copy_key(feed, emit)
        return True
    return False


def _copy_key(feed: Feed, emit: Emit) -> Reading[None]:
    if (yield from feed.need()) != '"':
        raise Unreadable
    feed.at += 1
    emit('"')
    yield from copy_string(feed, emit)
    yield from _copy_blanks(feed, emit)
    if (yield from feed.need()) != ":":
        raise Unreadable
    feed.at += 1
    emit(":")


def copy_string(feed: Feed, emit: Emit, strict: bool = True) -> Reading[None]:
    """Copies the rest of a string whose opening quote was taken, with its closing quote. Raises Unreadable, if
    `strict`, for an escape that is none.
    """
    while True:
        found = _RUN.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end > feed.at:
            emit(feed.text[feed.at : end])
            feed.at = end
        char = yield from feed.need()
        if char == '"':
            feed.at += 1
            emit(char)
            return
        if char == "\\":
            yield from _copy_escape(feed, emit, strict)
        elif char < " ":
            feed.at += 1
            emit(escaped(char))


def _copy_loose(feed: Feed, emit: Emit) -> Reading[None]:
    """The same behind a mistake, where a quote may be one too many: the region's closer ends it as well."""
    while True:
        found = _LOOSE_RUN.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        emit(feed.text[feed.at : end])
        feed.at = end
        char = yield from feed.need()
        if char == "<" and (yield from feed.marker_after(feed.closers, 0)):
            return
        if char == "\\":
            yield from _copy_escape(feed, emit, strict=False)
            continue
        feed.at += 1
        emit(escaped(char) if char < " " else char)
        if char == '"':
            return


def _copy_escape(feed: Feed, emit: Emit, strict: bool) -> Reading[None]:
    while (found := _ESCAPE.match(feed.text, feed.at)) is None:
        if not _ESCAPE_BEGUN.fullmatch(feed.text, feed.at):
            if strict:
                raise _BadEscape
            break
        if feed.ended:
            raise Cut
        yield
    end = found.end() if found else feed.at + 2
    emit(feed.text[feed.at : end])
    feed.at = end


def _scalar(feed: Feed) -> Reading[str]:
    """The number or word that comes next; complete once another character follows or the answer ends."""
    while True:
        found = _SCALAR_RUN.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end < len(feed.text) or feed.ended or end - feed.at > _MOST_SCALAR:
            break
        yield
    word = feed.text[feed.at : end]
    if not _SCALAR.fullmatch(word):
        raise Unreadable
    feed.at = end
    return word


def _copy_blanks(feed: Feed, emit: Emit) -> Reading[None]:
    while True:
        found = _BLANKS.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end > feed.at:
            emit(feed.text[feed.at : end])
            feed.at = end
        if end < len(feed.text) or feed.ended:
            return
        yield


def read_string(feed: Feed, most: int | None = None) -> Reading[str]:
    """The JSON string that comes next, decoded. Raises Unreadable when it is none or longer than `most`."""
    if (yield from feed.need()) != '"':
        raise Unreadable
    feed.at += 1
    parts: list[str] = []
    size = 0

    def collect(text: str) -> None:
        nonlocal size
        parts.append(text)
        size += len(text)
        if most is not None and size > most + 1:
            raise Unreadable

    yield from copy_string(feed, collect)
    text: str = json.loads('"' + "".join(parts))
    return text


def is_object(text: str) -> bool:
    """Whether the text is one JSON object and nothing else."""
    return text.lstrip(" \t\r\n").startswith("{") and (
        complete(text, lambda feed, emit: copy_value(feed, drop, lambda: None)) is not None
    )
