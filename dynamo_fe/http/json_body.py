"""JSON as the original reads it: what a fast parser takes differently is read again by a slow one.

Source: Dynamo 1.6.1. Bytes that are no UTF-8 become U+FFFD, raw control characters are allowed in texts, `-0` is a
float, integers beyond 64 bits are floats, nesting ends at 128 levels, and a known key given twice is an error.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import secrets
from typing import Any, Final

import orjson

from dynamo_fe._cext.json_scan import scan_json
from dynamo_fe._cext.long_texts import lift_texts

_MOST_LEVELS: Final = 127
# the slow parser takes up to 30 ms a megabyte, in which nobody else gets a turn
_MOST_BYTES_READ_SLOWLY: Final = 1 << 20
# A text so long is taken out of its body before that is parsed, unless more than this is left of it all the same.
_LONG_TEXT_BYTES: Final = 1 << 17
_MOST_BYTES_LEFT: Final = 1 << 18
# objects whose keys the original knows, one level below the top
_KNOWN_INSIDE: Final = ("nvext", "stream_options", "messages")


class BadJson(ValueError):
    """Text that is no JSON, or JSON that the original refuses as such; `field` is the key at fault, if one is."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.field = field


def read_json(body: bytes, known: frozenset[str]) -> Any:
    """The document. `known` are the keys that may not stand twice at its top. Raises BadJson with reason and place.

    Long texts are read without the GIL.
    """
    if len(body) > _MOST_BYTES_LEFT:
        # nobody can have written it into a body
        mark = secrets.token_hex(16)
        rest, texts = lift_texts(body, _LONG_TEXT_BYTES, mark.encode())
        if texts and len(rest) <= _MOST_BYTES_LEFT:
            with contextlib.suppress(BadJson):
                # else the places would be those of the rest
                return _put_back(_read(rest, known), {f"{mark}{number}": text for number, text in enumerate(texts)})
    return _read(body, known)


def _read(body: bytes, known: frozenset[str]) -> Any:
    small = len(body) <= _MOST_BYTES_READ_SLOWLY
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body.strip():
            raise BadJson("EOF while parsing a value at line 1 column 0") from error
        if body.startswith(codecs.BOM_UTF8):
            raise BadJson("byte order mark before the document at line 1 column 1") from error
        if not small:
            raise _bad_syntax(error) from error
        document = _read_slowly(body)
        if _too_deep(document):
            raise BadJson("recursion limit exceeded") from error
        _refuse_beyond(body, scan_json(body)[3])
        return document
    depth, repeats, minus_zero, beyond = scan_json(body)
    if depth > _MOST_LEVELS:
        raise BadJson("recursion limit exceeded")
    _refuse_beyond(body, beyond)
    if not small or not (repeats or minus_zero):
        return document
    exact = _read_slowly(body)
    if repeats:
        _refuse_repeated(exact, known)
    return exact if minus_zero else document


def _put_back(document: Any, texts: dict[str, str]) -> Any:
    """The document with its long texts where their marks stand."""
    if isinstance(document, str):
        return texts.get(document, document)
    left = [document]
    while left:
        holder = left.pop()
        if not isinstance(holder, dict | list):
            continue
        for place, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(value, str):
                holder[place] = texts.get(value, value)
            else:
                left.append(value)
    return document


class _Object(dict[str, Any]):
    """An object that remembers which of its keys was given twice."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: set[str] = set()
        if len(self) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.repeated.add(key)
                seen.add(key)


def _read_slowly(body: bytes) -> Any:
    try:
        document = json.loads(
            body.decode("utf-8", "replace"),
            strict=False,
            object_pairs_hook=_Object,
            parse_int=_integer,
            parse_constant=_refuse_constant,
        )
        _refuse_surrogates(document)
    except json.JSONDecodeError as error:
        raise _bad_syntax(error) from error
    except (TypeError, ValueError) as error:
        raise BadJson(str(error)) from error
    except RecursionError as error:
        raise BadJson("recursion limit exceeded") from error
    return document


def _bad_syntax(error: json.JSONDecodeError) -> BadJson:
    # the slow parser ends some of its reasons with the word that its own sentence goes on with
    return BadJson(f"{error.msg.removesuffix(' at')} at line {error.lineno} column {error.colno}")


def _refuse_beyond(body: bytes, end: int) -> None:
    if end:
        line, column = body.count(b"\n", 0, end) + 1, end - body.rfind(b"\n", 0, end) - 1
        raise BadJson(f"number out of range at line {line} column {column}")


def _refuse_surrogates(document: Any) -> None:
    """What orjson cannot write it would not have read."""
    try:
        orjson.dumps(document, default=dict, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        if "surrogates" not in str(error):
            raise
        raise BadJson("lone surrogate in a string: code points from D800 to DFFF stand in pairs") from error


def _integer(text: str) -> int | float:
    if text == "-0":
        return -0.0
    # 19 digits and a sign always fit into 64 bits or show that they do not
    value = int(text) if len(text) <= 20 else 1 << 64
    return value if -(1 << 63) <= value < 1 << 64 else float(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"expected value, got {name}")


def _refuse_repeated(document: Any, known: frozenset[str]) -> None:
    if not isinstance(document, _Object):
        return
    repeated = sorted(document.repeated & known)
    for entry in map(document.get, _KNOWN_INSIDE):
        for inner in entry if isinstance(entry, list) else [entry]:
            if isinstance(inner, _Object):
                repeated += sorted(inner.repeated)
    if repeated:
        raise BadJson(f"duplicate field `{repeated[0]}`", repeated[0])


def _too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
