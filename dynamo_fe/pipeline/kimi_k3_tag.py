"""Kimi K3's calls as a grammar: each argument is an element of its own, typed by the schema of its parameter.

Source: Dynamo 1.6.1, captured schema by schema; format: spec of the model's XTML elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from dynamo_fe.models.native.kimi_k3 import attribute

Format = dict[str, Any]

_RESERVED: Final = ("<|open|>tools<|sep|>", "<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|open|>call")
_TYPES: Final = ("string", "number", "boolean", "array", "object", "null")
# a character of a text that is not the beginning of a marker
_CHARACTER: Final = "(?:[^<]|<[^|])"
# a dollar sign that no backslash makes a character
_ENDS_BOUND: Final = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")
# keywords that only mean something for values of one type
_TELLING: Final = (
    (frozenset({"properties", "additionalProperties", "patternProperties", "required"}), "object"),
    (frozenset({"items", "prefixItems", "minItems", "maxItems"}), "array"),
    (frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}), "number"),
    (frozenset({"pattern", "minLength", "maxLength", "format"}), "string"),
)
_BRANCHES: Final = ("anyOf", "oneOf", "allOf")
_MOST_REFERENCES: Final = 64
# schemas looked at in one format: beyond it a value may have any type, so that no schema costs more than it is long
_MOST_LOOKS: Final = 20_000
# every argument carries the definitions of its function
_MOST_DEFINITION_BYTES: Final = 1 << 20


class Unwritable(Exception):
    """A schema that allows nothing, or refers to what is not there."""


def kimi_k3_format(functions: list[tuple[str, Any]], *, must_call: bool, named: bool, parallel: bool) -> Format:
    """The format of an answer that may, or must, call. `functions`: names and schemas; True allows any arguments.

    Raises Unwritable for a schema that cannot be followed.
    """
    writer = _Calls()
    tags = [writer.call(name, schema) for name, schema in functions]
    if must_call or parallel:
        inner: Format = {
            "type": "tags_with_separator",
            "tags": tags,
            "separator": "",
            "at_least_one": True,
            "stop_after_first": not parallel,
        }
    else:
        inner = _either(tags)
    calls = _tag("<|open|>tools<|sep|>", inner, "<|close|>tools<|sep|>")
    if not must_call:
        text = {"type": "any_text", "excludes": list(_RESERVED)}
        return _sequence([text, {"type": "optional", "content": calls}])
    text = _constant("") if named else {"type": "any_text", "excludes": ["<|open|>", "<|close|>"]}
    return _sequence(
        [
            _optional("<|open|>response<|sep|>"),
            text,
            _optional("<|close|>response<|sep|>"),
            calls,
            _optional("<|close|>message<|sep|>"),
        ]
    )


class _Calls:
    """Writes calls, looking at no more schemas in all of them than `_MOST_LOOKS`."""

    def __init__(self) -> None:
        self._looks_left = _MOST_LOOKS
        # of the function at hand: the schema of its parameters, in which references are looked up
        self._root: dict[str, Any] = {}
        self._definitions: dict[str, Any] = {}

    def call(self, name: str, schema: Any) -> Format:
        """One function's call. `schema`: of its parameters; True allows any."""
        self._root = schema if isinstance(schema, dict) else {}
        self._definitions = {key: self._root[key] for key in ("$defs", "definitions") if key in self._root}
        number = {"type": "regex", "pattern": "[1-9][0-9]*"}
        begin = f'<|open|>call tool="{attribute(name)}" index="'
        return _tag(begin, _sequence([number, _constant('"<|sep|>'), self._arguments()]), "<|close|>call<|sep|>")

    def _arguments(self) -> Format:
        """Required parameters in the order of `required`, then any number of the others; anything where the schema
        names no parameters, requires one that it does not have, or would be written out too often.
        """
        resolved = self._resolved(self._root)
        properties = resolved.get("properties")
        if not isinstance(properties, dict) or self._definition_bytes() * len(properties) > _MOST_DEFINITION_BYTES:
            return _any_arguments()
        listed = resolved.get("required")
        required = dict.fromkeys(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else {}
        if any(name not in properties for name in required):
            return _any_arguments()
        elements = [self._argument(name, properties[name]) for name in required]
        others = [self._argument(name, inner) for name, inner in properties.items() if name not in required]
        if others:
            elements.append({"type": "star", "content": _either(others)})
        if not elements:
            return _constant("")
        return _sequence(elements) if required else elements[0]

    def _argument(self, name: str, schema: Any) -> Format:
        if schema is False:
            raise Unwritable(f"`{name}` allows no value")
        resolved = self._resolved(schema if isinstance(schema, dict) else {})
        forms = []
        for kind in self._types_of(resolved):
            begin = f'<|open|>argument key="{attribute(name)}" type="{kind}"<|sep|>'
            value = self._text(resolved) if kind == "string" else self._json(kind, resolved)
            forms.append(_tag(begin, value, "<|close|>argument<|sep|>"))
        return _either(forms)

    def _json(self, kind: str, schema: dict[str, Any]) -> Format:
        """A value of one type: of the schema's members and branches only those of that type."""
        narrowed = dict(schema)
        if isinstance(schema.get("enum"), list):
            narrowed["enum"] = [member for member in schema["enum"] if _type_of_value(member) == kind]
        for key in _BRANCHES:
            if isinstance(schema.get(key), list):
                narrowed[key] = [branch for branch in self._branches(schema, key) if kind in self._types_of(branch)]
        narrowed["type"] = "integer" if kind == "number" and self._is_whole(schema) else kind
        return {"type": "json_schema", "json_schema": narrowed | self._definitions, "style": "json"}

    def _definition_bytes(self) -> int:
        return len(msgspec.json.encode(self._definitions)) if self._definitions else 0

    def _text(self, schema: dict[str, Any]) -> Format:
        members = _members(schema)
        if members is not None:
            texts = [_constant(member) for member in members if isinstance(member, str)]
            return _either(texts)
        for part in self._text_parts(schema):
            if isinstance(part.get("pattern"), str):
                return {"type": "regex", "pattern": _unanchored(part["pattern"])}
            if "minLength" in part or "maxLength" in part:
                least, most = part.get("minLength", 0), part.get("maxLength", "")
                return {"type": "regex", "pattern": f"{_CHARACTER}{{{least},{most}}}"}
        return {"type": "any_text", "excludes": ["<|close|>"]}

    def _text_parts(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The schema and those branches of it that are about texts."""
        yield schema
        for key in _BRANCHES:
            for branch in self._branches(schema, key):
                if key == "allOf" or "string" in self._types_of(branch):
                    yield branch

    def _types_of(self, schema: dict[str, Any]) -> list[str]:
        """The element types that a value may have, in the order of `_TYPES`; all where the schema does not say."""
        found = _own_types(schema)
        for key in () if found else _BRANCHES:
            for branch in self._branches(schema, key):
                found |= _own_types(branch)
        return [kind for kind in _TYPES if kind in found] or list(_TYPES)

    def _is_whole(self, schema: dict[str, Any]) -> bool:
        """Whether of all numbers only integers are wanted."""
        declared = _declared(schema)
        members = _members(schema)
        if not declared and members is not None:
            return all(isinstance(member, int) for member in members if _type_of_value(member) == "number")
        for key in () if declared else _BRANCHES:
            for branch in self._branches(schema, key):
                declared |= _declared(branch)
        return "integer" in declared and "number" not in declared

    def _branches(self, schema: dict[str, Any], key: str) -> list[dict[str, Any]]:
        listed = schema.get(key)
        if not isinstance(listed, list) or self._looks_left < len(listed):
            return []
        self._looks_left -= len(listed)
        return [self._resolved(branch) for branch in listed if isinstance(branch, dict)]

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema behind local references."""
        for _ in range(_MOST_REFERENCES):
            reference = schema.get("$ref")
            if reference is None:
                return schema
            target: Any = self._root
            for step in filter(None, str(reference).removeprefix("#").split("/")):
                key = step.replace("~1", "/").replace("~0", "~")
                target = target.get(key) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise Unwritable(f"{reference} is not there")
            schema = target
        raise Unwritable(f"{schema.get('$ref')} leads in a circle")


def _own_types(schema: dict[str, Any]) -> set[str]:
    """Element types that the schema itself names or shows."""
    members = _members(schema)
    if declared := _declared(schema):
        return {"number" if kind == "integer" else kind for kind in declared}
    if members is not None:
        return set(map(_type_of_value, members))
    return {kind for keys, kind in _TELLING if not keys.isdisjoint(schema)}


def _declared(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    return {kind for kind in listed if isinstance(kind, str)}


def _members(schema: dict[str, Any]) -> list[Any] | None:
    """The values that the schema allows; None when it does not list them."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _type_of_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "object"


def _unanchored(pattern: str) -> str:
    """A pattern is searched for, a grammar has to match whole: what stands around it is added where it is not bound."""
    free = f"{_CHARACTER}*"
    begins, ends = pattern.startswith("^"), _ENDS_BOUND.search(pattern) is not None
    inner = pattern[1 if begins else 0 : -1 if ends else None]
    return f"{'' if begins else free}(?:{inner}){'' if ends else free}"


def _any_arguments() -> Format:
    head = {"type": "regex", "pattern": r"[^<]*<\|sep\|>"}
    any_value = {"type": "any_text", "excludes": ["<|close|>"]}
    element = _tag("<|open|>argument ", _sequence([head, any_value]), "<|close|>argument<|sep|>")
    return {"type": "star", "content": element}


def _tag(begin: str, content: Format, end: str) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _sequence(elements: list[Format]) -> Format:
    return {"type": "sequence", "elements": elements}


def _either(forms: list[Format]) -> Format:
    return forms[0] if len(forms) == 1 else {"type": "or", "elements": forms}


def _constant(value: str) -> Format:
    return {"type": "const_string", "value": value}


def _optional(value: str) -> Format:
    return {"type": "optional", "content": _constant(value)}
