"""What holds an answer to its form, where the captures do not reach."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe.pipeline.guidance import chat_guidance, completion_guidance
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.card import RuntimeConfig
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest


def chat(**fields: Any) -> ChatRequest:
    return msgspec.convert({"model": "m", "messages": [], **fields}, ChatRequest)


def function(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def decoding(request: ChatRequest, **config: Any) -> Any:
    return chat_guidance(request, msgspec.convert(config, RuntimeConfig), {}, None).decoding


def tag(request: ChatRequest, parser: str, **options: Any) -> Any:
    found = decoding(request, tool_call_parser=parser, structural_tag={"scope": "always", **options})
    return found["structural_tag"]["format"]


def test_details_stand_beside_a_constraint_only() -> None:
    assert decoding(chat(guided_regex="a+", guided_decoding_backend="x")) == {"regex": "a+", "backend": "x"}
    assert decoding(chat(guided_decoding_backend="x", guided_whitespace_pattern=" ")) is None
    request = msgspec.convert({"model": "m", "prompt": "x", "guided_json": "{}"}, CompletionRequest)
    assert completion_guidance(request) == {"json": "{}"}


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"type": "object", "additionalProperties": False}, {"regex": r"\{\}"}),
        ({"type": "object", "properties": {}, "required": [], "additionalProperties": False}, {"regex": r"\{\}"}),
        ({"type": "object", "properties": {}}, None),
        ({"properties": {}, "additionalProperties": False}, None),
        ({"type": "object", "additionalProperties": False, "minProperties": 1}, None),
    ],
)
def test_a_named_function_without_parameters_is_called_with_an_empty_object(parameters: Any, wanted: Any) -> None:
    named = {"type": "function", "function": {"name": "a"}}
    assert decoding(chat(tools=[function("a", parameters)], tool_choice=named)) == (wanted or {"json": parameters})


def test_definitions_of_functions_move_to_the_root() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "string"}}}
    found = decoding(chat(tools=[function("a", schema), function("b", schema)], tool_choice="required"))["json"]
    assert found["$defs"] == {"N": {"type": "string"}}
    assert all("$defs" not in option["properties"]["parameters"] for option in found["items"]["anyOf"])


def test_definitions_that_contradict_each_other_are_refused() -> None:
    one = {"type": "object", "$defs": {"N": {"type": "string"}}}
    other = {"type": "object", "$defs": {"N": {"type": "integer"}}}
    with pytest.raises(Refusal, match="N"):
        decoding(chat(tools=[function("a", one), function("b", other)], tool_choice="required"))


def test_a_call_and_a_constraint_of_the_client_exclude_each_other() -> None:
    with pytest.raises(Refusal) as refused:
        decoding(chat(tools=[function("a")], tool_choice="required", guided_choice=["a"]))
    assert refused.value.param == "tool_choice"


def test_older_workers_name_their_options_one_by_one() -> None:
    request = chat(tools=[function("a")])
    options = {"structural_tag_scope": "always", "structural_tag_schema": "auto"}
    assert decoding(request, tool_call_parser="hermes", structural_tag_mode="off", **options) is None
    assert "structural_tag" in decoding(request, tool_call_parser="hermes", structural_tag_mode="on", **options)


def test_tools_that_are_shown_but_not_to_be_called() -> None:
    request = chat(tools=[function("a")], tool_choice="none")
    kept = {"structural_tag": {}, "exclude_tools_when_tool_choice_none": False}
    found = decoding(request, tool_call_parser="qwen3_coder", **kept)["structural_tag"]["format"]
    assert found["content"] == {"type": "any_text", "excludes": ["<tool_call>", "<function="]}
    assert decoding(request, tool_call_parser="qwen3_coder", structural_tag={}) is None
    assert decoding(request, tool_call_parser="kimi_k2", **kept) is None


def kimi_k3_calls(*functions: dict[str, Any]) -> Any:
    return tag(chat(tools=list(functions)), "kimi_k3")["elements"][1]["content"]["content"]["tags"]


def kimi_k3_argument(schema: Any, definitions: Any = None) -> Any:
    root = {"type": "object", "properties": {"p": schema}, "required": ["p"]}
    if definitions is not None:
        root["$defs"] = definitions
    calls = kimi_k3_calls(function("f", root))
    return calls[0]["content"]["elements"][2]["elements"][0]


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "integer"}, ["number"]),
        ({"type": ["string", "null"]}, ["string", "null"]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ["string", "number"]),
        ({"enum": ["a", 1, None]}, ["string", "number", "null"]),
        ({"const": True}, ["boolean"]),
        ({"properties": {}}, ["object"]),
        ({"minimum": 3}, ["number"]),
        ({}, ["string", "number", "boolean", "array", "object", "null"]),
    ],
)
def test_each_argument_of_kimi_k3_is_typed_by_its_schema(schema: Any, types: list[str]) -> None:
    found = kimi_k3_argument(schema)
    forms = found["elements"] if found["type"] == "or" else [found]
    assert [form["begin"].split('type="')[1].split('"')[0] for form in forms] == types


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        ({"type": "string"}, {"type": "any_text", "excludes": ["<|close|>"]}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "regex", "pattern": "(?:a+)"}),
        ({"type": "string", "pattern": r"a\$"}, {"type": "regex", "pattern": r"(?:[^<]|<[^|])*(?:a\$)(?:[^<]|<[^|])*"}),
        ({"type": "string", "minLength": 2, "maxLength": 5}, {"type": "regex", "pattern": "(?:[^<]|<[^|]){2,5}"}),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, {"type": "regex", "pattern": "(?:[^<]|<[^|]){1,}"}),
        ({"$ref": "#/$defs/B"}, {"type": "const_string", "value": "m"}),
    ],
)
def test_texts_of_kimi_k3(schema: Any, content: Any) -> None:
    definitions = {"B": {"$ref": "#/$defs/A"}, "A": {"type": "string", "enum": ["m"]}}
    assert kimi_k3_argument(schema, definitions)["content"] == content


@pytest.mark.parametrize("schema", [False, {"$ref": "#/$defs/none"}, {"$ref": "#/$defs/C"}])
def test_a_schema_that_cannot_be_followed_leaves_kimi_k3_free(schema: Any) -> None:
    root = {"type": "object", "properties": {"p": schema}, "$defs": {"C": {"$ref": "#/$defs/C"}}}
    request = chat(tools=[function("f", root)])
    assert decoding(request, tool_call_parser="kimi_k3", structural_tag={"scope": "always"}) is None


def test_schemas_that_multiply_end_as_arguments_of_any_type() -> None:
    many = {"anyOf": [{"$ref": "#/$defs/D"}] * 500}
    root = {"type": "object", "properties": {f"p{n}": many for n in range(500)}, "$defs": {"D": {"type": "null"}}}
    calls = kimi_k3_calls(*(function(f"f{n}", root) for n in range(50)))
    arguments = [call["content"]["elements"][2]["content"]["elements"] for call in calls]
    assert "type=\"null\"" in arguments[0][0]["begin"]
    assert arguments[-1][-1]["type"] == "or"


def test_definitions_are_not_written_out_without_end() -> None:
    properties = {f"p{n}": {"type": "integer"} for n in range(500)}
    calls = kimi_k3_calls(function("f", {"properties": properties, "$defs": {"D": "x" * 5000}}))
    assert calls[0]["content"]["elements"][2]["content"]["begin"] == "<|open|>argument "
