"""What a chat request demands of its answer: a call, or JSON of some shape."""

from __future__ import annotations

from typing import Any

from dynamo_fe.protocol.openai import ChatRequest


def must_call(request: ChatRequest) -> bool:
    """Whether the answer has to be a call of a tool."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, dict)


def named_function(request: ChatRequest) -> str | None:
    """The function that has to be called, when the request names one."""
    choice = request.tool_choice
    return choice["function"]["name"] if isinstance(choice, dict) else None


def response_schema(response_format: dict[str, Any] | None) -> Any:
    """The JSON schema that a `response_format` asks for, None for free text."""
    kind = (response_format or {}).get("type")
    if kind == "json_object":
        return {"type": "object"}
    if kind == "json_schema" and response_format is not None:
        return (response_format.get("json_schema") or {}).get("schema")
    return None


def asks_for_json(request: ChatRequest) -> bool:
    """Whether the `response_format` asks for JSON."""
    return response_schema(request.response_format) is not None
