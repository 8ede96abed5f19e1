"""Random chat requests with tools, forced choices, formats, thinking switches and histories of calls, from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "null")
SWITCHES: list[dict[str, Any]] = [
    {},
    {},
    {"reasoning_effort": "none"},
    {"reasoning_effort": "high"},
    {"thinking": True},
    {"thinking": {"type": "disabled"}},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": True, "other": [1, None]}},
    {"chat_template_kwargs": {"thinking_mode": "chat"}},
    {"chat_template_args": {"enable_thinking": "false", "thinking_mode": "Enabled"}},
]
FORMATS: list[dict[str, Any]] = [
    {},
    {},
    {},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
    {"guided_json": {"type": "array"}},
    {"guided_regex": "[a-z]+", "guided_decoding_backend": "b", "guided_whitespace_pattern": " ?"},
    {"guided_choice": ["a", "b"]},
    {"guided_grammar": 'root ::= "a"'},
]


def tool_request(number: int, seed: int) -> dict[str, Any]:
    """The fields of one request, without its model."""
    draw = random.Random(seed * 100_003 + number)
    names = draw.sample(("get_weather", "ping", "book-table", "F2"), draw.randint(0, 3))
    body: dict[str, Any] = {"messages": _history(draw, names or ["gone"])}
    if names:
        body["tools"] = [{"type": "function", "function": _function(draw, name)} for name in names]
    named = {"type": "function", "function": {"name": draw.choice(names or ["x"])}}
    if draw.random() < 0.7:
        body["tool_choice"] = draw.choice(("auto", "none", "required", named))
    if draw.random() < 0.3:
        body["parallel_tool_calls"] = draw.random() < 0.4
    if draw.random() < 0.1:
        body["skip_special_tokens"] = draw.random() < 0.5
    return body | draw.choice(SWITCHES) | draw.choice(FORMATS)


def _function(draw: random.Random, name: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if draw.random() < 0.7:
        function["description"] = draw.choice(("Does it", "", "é\n\"q\""))
    if draw.random() < 0.8:
        function["parameters"] = _parameters(draw)
    if draw.random() < 0.2:
        function["strict"] = draw.random() < 0.3
    return function


def _parameters(draw: random.Random) -> dict[str, Any]:
    if draw.random() < 0.1:
        return {}
    names = draw.sample(("city", "days", "unit", "tags", "where"), draw.randint(0, 4))
    schema: dict[str, Any] = {"type": "object", "properties": {name: _schema(draw) for name in names}}
    if draw.random() < 0.7:
        schema["required"] = draw.sample(names, draw.randint(0, len(names)))
    if draw.random() < 0.2:
        schema["additionalProperties"] = False
    return schema


def _schema(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice((*TYPES, "array", "object", "enum", "either"))
    if kind == "array":
        return {"type": "array", "items": {"type": draw.choice(TYPES)}}
    if kind == "object":
        return {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}
    if kind == "enum":
        return {"type": "string", "enum": ["c", "f"]}
    if kind == "either":
        return {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    return {"type": kind}


def _history(draw: random.Random, names: list[str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if draw.random() < 0.5:
        messages.append({"role": draw.choice(("system", "developer")), "content": _content(draw)})
    for turn in range(draw.randint(0, 3)):
        messages.append({"role": "user", "content": _content(draw)})
        answer: dict[str, Any] = {"role": "assistant", "content": draw.choice((None, "", "said", "é <b>"))}
        if draw.random() < 0.4:
            answer[draw.choice(("reasoning_content", "reasoning"))] = draw.choice(("thought", ["one", "two"]))
        calls = [_call(draw, name, f"c{turn}{number}") for number, name in enumerate(names) if draw.random() < 0.6]
        if calls:
            answer["tool_calls"] = calls
        elif answer["content"] is None:
            answer["content"] = "nothing"
        messages.append(answer)
        for call in draw.sample(calls, len(calls)):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": _content(draw)})
    return [*messages, {"role": "user", "content": _content(draw)}]


def _call(draw: random.Random, name: str, call_id: str) -> dict[str, Any]:
    arguments = draw.choice(({}, {"city": "Röm", "days": 2}, {"b": [1, {"z": None}], "a": "x\"y"}))
    spaced = draw.choice(((", ", ": "), (",", ":")))
    text = json.dumps(arguments, ensure_ascii=False, separators=spaced)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _content(draw: random.Random) -> Any:
    text = draw.choice(("hello", "hello world", "", "two\nlines", "é <tool_call>"))
    if draw.random() < 0.7:
        return text
    return [{"type": "text", "text": text}, {"type": "text", "text": "more"}]
