"""OpenAI's rules for the parameters of a strict tool, with the messages of Dynamo 1.6.1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Fault = str


def strict_fault(schema: Any) -> Fault | None:
    """The first rule that a strict tool's parameters break, as `In context=…, …`; None when they break none."""
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    if kind is None and "$ref" not in schema:
        return (
            "In context=#, unsupported root representation: Dynamo requires an object-only type or "
            "local-reference chain"
        )
    if kind is not None and kind not in ("object", ["object"]):
        return "In context=#, root must have object-only type"
    return next(_faults(schema, "#"), None)


def _faults(schema: Any, context: str) -> Iterator[Fault]:
    """Faults of one schema and of those inside it, outermost first."""
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
        yield from _object_faults(schema, context)
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        for key, value in inner.items() if isinstance(inner, dict) else ():
            yield from _faults(value, f"{context}/{name}/{key}")
    yield from _faults(schema.get("items"), f"{context}/items")
    for name in ("anyOf", "allOf", "oneOf"):
        options = schema.get(name)
        for index, value in enumerate(options if isinstance(options, list) else ()):
            yield from _faults(value, f"{context}/{name}/{index}")


def _object_faults(schema: dict[str, Any], context: str) -> Iterator[Fault]:
    if schema.get("additionalProperties") is not False:
        yield f"In context={context}, object schemas require additionalProperties: false"
    properties = schema.get("properties")
    names = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    wanted = required if isinstance(required, list) else []
    # a set: a schema may have tens of thousands
    known = {name for name in wanted if isinstance(name, str)}
    for name in names:
        if name not in known:
            yield f"In context={context}/required, must include property '{name}'"
    for name in wanted:
        if not isinstance(name, str) or name not in names:
            yield f"In context={context}/required, unknown property '{name}' in a closed object"
