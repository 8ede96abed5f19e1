"""From the bytes of a body to a typed request, with the refusals for what is not one."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
import orjson

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_PREFIX: Final = "Failed to deserialize the JSON body into the target type: "
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`(?: - at `\$\.?([^`]*)`)?")
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")

R = TypeVar("R", ChatRequest, CompletionRequest)


def is_json(exchange: Exchange) -> bool:
    """Whether the content type is `application/json` or `application/*+json`, parameters aside."""
    declared = exchange.header(b"content-type")
    if declared is None:
        return False
    media = declared.partition(b";")[0].strip().lower()
    return media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))


def parse_request(body: bytes, kind: type[R], ignore_unknown: bool) -> R:
    """Raises Refusal for text that is no JSON, a wrong type (naming field, type and expectation) and unknown fields."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal.invalid(_PREFIX + _syntax(error, body)) from error
    try:
        request = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Refusal.invalid(_PREFIX + _type_text(str(error)), param=_param(str(error))) from error
    unknown = [] if ignore_unknown else [key for key in document if key not in _FIELDS[kind]]
    if unknown:
        listed = ", ".join(f"`{key}`" for key in unknown)
        raise Refusal.invalid(f"Validation: Unsupported parameter(s): {listed}", param=unknown[0])
    return request


_FIELDS: Final[dict[Any, frozenset[str]]] = {
    kind: frozenset(kind.__struct_fields__) for kind in (ChatRequest, CompletionRequest)
}


def _syntax(error: orjson.JSONDecodeError, body: bytes) -> str:
    text = error.msg if body.strip() else "EOF while parsing a value"
    return f"{text} at line {error.lineno} column {error.colno}"


def _type_text(text: str) -> str:
    missing = _MISSING.match(text)
    if missing is not None:
        where = f" at `{missing[2]}`" if missing[2] else ""
        return f"missing field `{missing[1]}`{where}"
    return _PATH.sub(lambda found: f" at `{found[1]}`" if found[1] else "", text)


def _param(text: str) -> str | None:
    missing = _MISSING.match(text)
    if missing is not None:
        return f"{missing[2]}.{missing[1]}" if missing[2] else missing[1]
    found = _PATH.search(text)
    return found[1] if found is not None else None
