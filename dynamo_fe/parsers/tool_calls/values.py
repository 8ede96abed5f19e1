"""The type that a request's schema gives a parameter, and values written without one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.parsers.feed import complete
from dynamo_fe.parsers.tool_calls.json_text import copy_value, quoted
from dynamo_fe.parsers.tool_calls.python_literal import copy_literal

# The names that schemas in the wild give to JSON's types.
_KINDS: Final = {
    "string": "string", "str": "string", "text": "string", "varchar": "string", "char": "string", "enum": "string",
    "integer": "integer", "int": "integer", "long": "integer", "short": "integer", "unsigned": "integer",
    "number": "number", "num": "number", "float": "number", "double": "number",
    "boolean": "boolean", "bool": "boolean", "binary": "boolean",
    "array": "array", "arr": "array", "list": "array", "tuple": "array", "sequence": "array",
    "object": "object", "dict": "object", "dictionary": "object", "map": "object",
    "null": "null", "none": "null", "nonetype": "null",
}  # fmt: skip
_SIZED: Final = re.compile(r"(u?int|float|double|dict|list|array)[\d\[<].*")
_SIZED_KINDS: Final = {"int": "integer", "uint": "integer", "float": "number", "double": "number"}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEANS: Final = {"true": "true", "false": "false"}
# Steps through references and alternatives of a schema before it counts as none.
_MOST_STEPS: Final = 64

Schema = Mapping[str, Any]


def kinds_of(schema: Any, root: Schema) -> frozenset[str]:
    """The JSON types a schema allows, through `$ref`, `anyOf`, `oneOf` and `enum`; empty where it says nothing."""
    found: set[str] = set()
    waiting, steps = [schema], 0
    while waiting and steps < _MOST_STEPS:
        steps += 1
        here = waiting.pop()
        if not isinstance(here, Mapping):
            continue
        declared = here.get("type")
        names = declared if isinstance(declared, list) else [declared]
        kinds = {kind for name in names if isinstance(name, str) and (kind := _kind(name)) is not None}
        if not kinds:
            waiting.extend(_elsewhere(here, root))
            kinds = _kinds_of_members(here)
        found |= kinds
    return frozenset(found)


def property_of(schema: Any, name: str, root: Schema) -> Any:
    """The schema of an object's member, None where it is not declared."""
    for _ in range(_MOST_STEPS):
        if not isinstance(schema, Mapping):
            return None
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and name in properties:
            return properties[name]
        schema = next(iter(_elsewhere(schema, root)), schema.get("additionalProperties"))
    return None


def items_of(schema: Any, root: Schema) -> Any:
    """The schema of an array's items, None where it is not declared."""
    for _ in range(_MOST_STEPS):
        if not isinstance(schema, Mapping):
            return None
        if "items" in schema:
            return schema["items"]
        schema = next((other for other in _elsewhere(schema, root) if "array" in kinds_of(other, root)), None)
    return None


def typed(text: str, kinds: frozenset[str]) -> str:
    """The JSON text of a value of one of the types; a string where it is none of the others."""
    bare = text.strip()
    if "null" in kinds and bare.lower() in ("null", "none"):
        return "null"
    if "integer" in kinds and _INTEGER.fullmatch(bare):
        return bare
    if "number" in kinds and _NUMBER.fullmatch(bare):
        return bare
    if "boolean" in kinds and bare.lower() in _BOOLEANS:
        return _BOOLEANS[bare.lower()]
    if "string" not in kinds:
        container = _container(bare, kinds)
        if container is not None:
            return container
    return quoted(text)


def json_or_text(text: str) -> str:
    """The value as JSON if it is that, else as a string."""
    return as_value(text) or quoted(text)


def as_value(text: str) -> str | None:
    """The text if it is one JSON value, blanks around it left out."""
    return complete(text, lambda feed, emit: copy_value(feed, emit, lambda: None))


def _container(text: str, kinds: frozenset[str]) -> str | None:
    """An array or object in JSON or as Python writes it."""
    if not (text.startswith("[") and "array" in kinds or text.startswith("{") and "object" in kinds):
        return None
    return as_value(text) or complete(text, copy_literal)


def _kind(name: str) -> str | None:
    name = name.strip().lower()
    sized = _SIZED.fullmatch(name)
    return _KINDS.get(name) or (sized and _SIZED_KINDS.get(sized[1], _KINDS.get(sized[1]))) or None


def _elsewhere(schema: Schema, root: Schema) -> list[Any]:
    """Where a schema without a type says it instead."""
    found: list[Any] = []
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found.append(_resolved(reference, root))
    for key in ("anyOf", "oneOf", "allOf"):
        others = schema.get(key)
        if isinstance(others, list):
            found.extend(others)
    return [other for other in found if other is not None]


def _resolved(reference: str, root: Schema) -> Any:
    if not reference.startswith("#"):
        return None
    here: Any = root
    for part in reference[1:].strip("/").split("/"):
        if part and isinstance(here, Mapping):
            here = here.get(part.replace("~1", "/").replace("~0", "~"))
    return here


def _kinds_of_members(schema: Schema) -> set[str]:
    members = schema.get("enum")
    if not isinstance(members, list):
        members = [schema["const"]] if "const" in schema else []
    if not members:
        return {"object"} if "properties" in schema else {"array"} if "items" in schema else set()
    return {_kind_of_member(member) for member in members[:_MOST_STEPS]}


def _kind_of_member(member: Any) -> str:
    text = json.dumps(member) if isinstance(member, (bool, int, float, type(None))) else ""
    if isinstance(member, bool):
        return "boolean"
    if member is None:
        return "null"
    if text:
        return "integer" if isinstance(member, int) else "number"
    return "string" if isinstance(member, str) else "array" if isinstance(member, list) else "object"
