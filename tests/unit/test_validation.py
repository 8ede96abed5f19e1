"""What is refused before a worker is asked, and in which words."""

import base64
from typing import Any

import orjson
import pytest

from dynamo_fe.http.parse import parse_request
from dynamo_fe.http.validation import check_chat, check_completion
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

PREFIX = "Failed to deserialize the JSON body into the target type: "
TOOL = {"type": "function", "function": {"name": "f"}}


def chat(**fields: Any) -> Refusal | None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    try:
        check_chat(parse_request(orjson.dumps(body), ChatRequest, False))
    except Refusal as refusal:
        return refusal
    return None


def completion(**fields: Any) -> Refusal | None:
    try:
        request = parse_request(orjson.dumps({"model": "m", "prompt": "x", **fields}), CompletionRequest, False)
        check_completion(request)
    except Refusal as refusal:
        return refusal
    return None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "Validation: Model cannot be empty"),
        ({"messages": []}, "Validation: The 'messages' field cannot be empty. At least one message is required."),
        ({"temperature": 2.1}, "Validation: Temperature must be between 0 and 2, got 2.1"),
        ({"top_p": 0}, "Validation: Top_p must be between 0 and 1, got 0"),
        ({"top_k": -2}, "Validation: Top_k must be null or greater than or equal to -1"),
        ({"min_p": 1.5}, "Validation: Min_p must be between 0 and 1, got 1.5"),
        ({"repetition_penalty": 0}, "Validation: Repetition penalty must be between 0 and 2, got 0"),
        ({"presence_penalty": 2.5}, "Validation: Presence penalty must be between -2 and 2, got 2.5"),
        ({"max_tokens": 0}, "Validation: Max tokens must be greater than 0, got 0"),
        ({"max_tokens": 1048577}, "Validation: Max tokens must not exceed 1048576, got 1048577"),
        ({"max_completion_tokens": 0}, "Validation: Max completion tokens must be greater than 0, got 0"),
        ({"n": 0}, "Validation: n must be between 1 and 128, got 0"),
        ({"top_logprobs": 21}, "Validation: Top_logprobs must be between 0 and 20, got 21"),
        ({"logit_bias": {"x": 1}}, "Validation: Logit bias key must be a non-negative 32-bit integer token id"),
        ({"logit_bias": {"5": 101}}, "Validation: Logit bias for token '5' must be between -100 and 100, got 101"),
        ({"stop": []}, "Validation: Stop sequences array cannot be empty"),
        ({"stop": ""}, "Validation: Stop sequence cannot be empty"),
        ({"stop": ["a", ""]}, "Validation: Stop sequence at index 1 cannot be empty"),
        ({"stop": ["a"] * 33}, "Maximum of 32 stop sequences allowed, got 33"),
        (
            {"stream_options": {"include_usage": True}},
            "Validation: The 'stream_options' field is only allowed when 'stream' is set to true.",
        ),
        ({"tools": []}, "Validation: tools array cannot be empty; omit the field entirely to disable tool use"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
            'Validation: tool named "nope" in tool_choice is not present in tools',
        ),
        ({"tool_choice": "required"}, 'Validation: tool_choice is "required" but tools is empty'),
        (
            {"guided_regex": "a", "guided_choice": ["b"]},
            "Only one guided-decoding constraint can be set; received: regex, choice",
        ),
        ({"user": ""}, "Validation: User ID cannot be empty"),
        ({"detokenize": 1}, "Validation: `detokenize` must be a boolean"),
        ({"stop_token_ids": ["a"]}, "Validation: `stop_token_ids` must be an array of token IDs"),
        ({"foo": 1, "bar": 2}, "Validation: Unsupported parameter(s): `foo`, `bar`"),
    ],
)
def test_chat_refusals_use_the_original_words(fields: dict[str, Any], message: str) -> None:
    refused = chat(**fields)
    assert refused is not None and refused.public == message and refused.status == 400


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"logprobs": 6}, "Validation: Logprobs must be between 0 and 5, got 6"),
        ({"best_of": 21}, "Validation: Best_of must be between 0 and 20, got 21"),
        ({"best_of": 1, "n": 2}, "Validation: Best_of must be greater than or equal to n, got best_of=1 and n=2"),
    ],
)
def test_completion_refusals_use_the_original_words(fields: dict[str, Any], message: str) -> None:
    refused = completion(**fields)
    assert refused is not None and refused.public == message and refused.status == 400


@pytest.mark.parametrize(("prompt", "kind"), [(None, "null"), (3, "int")])
def test_a_prompt_of_a_wrong_type_is_not_a_missing_one(prompt: Any, kind: str) -> None:
    refused = completion(prompt=prompt)
    assert refused is not None and refused.public == f"{PREFIX}Expected `str | array`, got `{kind}` at `prompt`"


@pytest.mark.parametrize(("size_bytes", "taken"), [(10 << 20, True), ((10 << 20) + 1, False)])
def test_prompt_embeds_end_at_ten_megabytes(size_bytes: int, taken: bool) -> None:
    refused = completion(prompt_embeds=base64.b64encode(bytes(size_bytes)).decode())
    message = f"Validation: prompt_embeds decoded data exceeds maximum size of 10MB, got {size_bytes} bytes"
    assert (refused is None) if taken else (refused is not None and refused.public == message)


@pytest.mark.parametrize(
    "given", [{"type": "json_schema", "json_schema": 5}, {"type": "json_schema"}, {"type": "xml"}, {}]
)
def test_a_response_format_that_is_none_is_a_400(given: dict[str, Any]) -> None:
    refused = chat(response_format=given)
    assert refused is not None and refused.status == 400


@pytest.mark.parametrize("fields", [{"functions": []}, {"function_call": "auto"}])
def test_deprecated_functions_are_not_implemented(fields: dict[str, Any]) -> None:
    refused = chat(**fields)
    assert refused is not None and refused.status == 501


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": "7"}, ("max_tokens", "str", "int")),
        ({"max_tokens": 1e2}, ("max_tokens", "float", "int")),
        ({"temperature": "warm"}, ("temperature", "str", "float")),
        ({"stream": 1}, ("stream", "int", "bool")),
        ({"stop": ["a", 1]}, ("stop",)),
        ({"messages": "hi"}, ("messages", "str", "array")),
        ({"nvext": {"foo": 1}}, ("unknown field", "foo", "nvext")),
    ],
)
def test_a_wrong_type_names_the_field_what_came_and_what_is_expected(
    fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused = chat(**fields)
    assert refused is not None and refused.public is not None and refused.public.startswith(PREFIX)
    assert all(word in refused.public for word in words) and refused.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"model":"m"}',
        b'{"model":"m","messages":[]}x',
        b'{"model":NaN}',
        b"\xff",
    ],
)
def test_what_is_no_request_is_a_400(body: bytes) -> None:
    with pytest.raises(Refusal, match="Failed to deserialize") as refused:
        parse_request(body, ChatRequest, False)
    assert refused.value.status == 400


def test_fields_of_newer_clients_and_edges_are_accepted() -> None:
    assert (
        chat(temperature=2, top_p=1, top_k=0, n=128, safety_identifier="s", verbosity="low", stop="x", seed=-1) is None
    )
    assert chat(tools=[TOOL], tool_choice="auto", logit_bias={"5": -100}) is None
    assert completion(logprobs=0, best_of=3, n=2, echo=True) is None


def test_unknown_fields_can_be_let_through() -> None:
    body = orjson.dumps({"model": "m", "messages": [], "foo": 1})
    assert parse_request(body, ChatRequest, ignore_unknown=True).model == "m"
