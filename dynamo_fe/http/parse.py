"""From the bytes of a body to a typed request, with the refusals for what is not one."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.json_body import BadJson, read_json
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import (
    OWN_FIELDS,
    AgentHints,
    ChatRequest,
    CompletionRequest,
    NvExt,
    RouterTargets,
    RoutingConstraints,
    StreamOptions,
)
from dynamo_fe.protocol.request_shapes import SHAPES, check_messages, check_shape

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
    """Raises Refusal for text that is no JSON and for a wrong type, naming field, type and expectation. Keys that are
    no fields are left in `unsupported`, unless they are to be ignored.
    """
    fields = _FIELDS[kind]
    try:
        document = read_json(body, fields)
    except BadJson as error:
        raise Refusal.invalid(f"{_PREFIX}{error}", param=error.field) from error
    try:
        if isinstance(document, dict):
            if kind is ChatRequest and document.get("messages") is not None:
                check_messages(document["messages"])
            if not _LOOKED_AT.isdisjoint(document):
                _lists_as_objects(document)
                _check_shapes(document, kind)
        request = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Refusal.invalid(_PREFIX + type_text(str(error)), param=_param(str(error))) from error
    if kind is ChatRequest and _EVERYDAY.issuperset(document):
        request.everyday = True
    elif not ignore_unknown and not fields.issuperset(document):
        request.unsupported = [key for key in document if key not in fields]
    return request


def _lists_as_objects(document: dict[str, Any]) -> None:
    """A list in place of an object gives its members in the order of their declaration, as serde reads it."""
    for name, kind in _BY_POSITION.items():
        holder = document.get("nvext") if name in _IN_NVEXT else document
        value = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(value, list) and isinstance(holder, dict) and len(value) <= len(kind.__struct_fields__):
            holder[name] = dict(zip(kind.__struct_fields__, value, strict=False))
    form = document.get("response_format")
    if form in ([0], [1]):
        document["response_format"] = {"type": ("text", "json_object")[form[0]]}


def _check_shapes(document: dict[str, Any], kind: type[Any]) -> None:
    if kind is ChatRequest:
        for name in SHAPES:
            if document.get(name) is not None:
                check_shape(name, document[name])
    stop = document.get("stop")
    if isinstance(stop, list) and stop:
        strings = sum(isinstance(entry, str) for entry in stop)
        if strings not in (0, len(stop)) or any(isinstance(entry, int) and not 0 <= entry < 1 << 32 for entry in stop):
            raise msgspec.ValidationError("data did not match any variant of untagged enum Stop - at `$.stop`")
    if document.get("chat_template_args") is not None and document.get("chat_template_kwargs") is not None:
        raise msgspec.ValidationError("duplicate field `chat_template_args` - at `$.chat_template_kwargs`")


_BY_POSITION: Final[dict[str, Any]] = {
    "nvext": NvExt,
    "stream_options": StreamOptions,
    "agent_hints": AgentHints,
    "routing_constraints": RoutingConstraints,
    "router": RouterTargets,
}
_IN_NVEXT: Final = frozenset(("agent_hints", "routing_constraints", "router"))
# fields whose inside is looked at before they are read
_LOOKED_AT: Final = frozenset(
    (*SHAPES, *_BY_POSITION, "response_format", "stop", "chat_template_args", "chat_template_kwargs")
)
_FIELDS: Final[dict[Any, frozenset[str]]] = {
    kind: frozenset(kind.__struct_fields__) - OWN_FIELDS for kind in (ChatRequest, CompletionRequest)
}
# what most chat requests keep to
_EVERYDAY: Final = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p seed".split()
)


def type_text(text: str) -> str:
    """What msgspec says of a wrong type, in the original's way: the path as `a.b` and a missing field named."""
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
