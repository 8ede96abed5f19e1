"""The rules of strict tools."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.http.strict_schema import strict_fault

CLOSED: dict[str, Any] = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        CLOSED | {"properties": {}},
        CLOSED | {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"$ref": "#/$defs/x", "$defs": {"x": CLOSED}},
    ],
)
def test_what_is_taken(schema: Any) -> None:
    assert strict_fault(schema) is None


@pytest.mark.parametrize(
    ("schema", "context"),
    [
        ({"type": "object"}, "#, object schemas require additionalProperties: false"),
        (CLOSED | {"properties": {"a": {}}}, "#/required, must include property 'a'"),
        (CLOSED | {"required": ["b"]}, "#/required, unknown property 'b' in a closed object"),
        (
            CLOSED | {"properties": {"a": {"items": {"type": "object"}}}, "required": ["a"]},
            "#/properties/a/items, object schemas require additionalProperties: false",
        ),
        (
            CLOSED | {"properties": {"a": {"anyOf": [{"type": "object"}]}}, "required": ["a"]},
            "#/properties/a/anyOf/0, object schemas require additionalProperties: false",
        ),
        ({"type": "string"}, "#, root must have object-only type"),
    ],
)
def test_the_first_fault_is_named_with_its_place(schema: Any, context: str) -> None:
    assert strict_fault(schema) == f"In context={context}"
