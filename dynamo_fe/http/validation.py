"""Ranges and combinations of request fields, with the messages of Dynamo 1.6.1."""

from __future__ import annotations

import re
from typing import Any, Final

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_UNREADABLE: Final = "Failed to deserialize the JSON body into the target type: "
_MAX_TOKENS: Final = 1_048_576
_MAX_STOPS: Final = 32
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+\Z")
# field: lowest, whether the lowest itself is allowed, highest, name in the message, words for the range
_RANGES: Final = (
    ("temperature", 0.0, True, 2.0, "Temperature", "between 0 and 2"),
    ("top_p", 0.0, False, 1.0, "Top_p", "between 0 and 1"),
    ("min_p", 0.0, True, 1.0, "Min_p", "between 0 and 1"),
    ("repetition_penalty", 0.0, False, 2.0, "Repetition penalty", "between 0 and 2"),
    ("presence_penalty", -2.0, True, 2.0, "Presence penalty", "between -2 and 2"),
    ("frequency_penalty", -2.0, True, 2.0, "Frequency penalty", "between -2 and 2"),
)


def check_chat(request: ChatRequest) -> None:
    """Raises Refusal for the first rule of a chat request that is broken."""
    if request.function_call is not None or request.functions is not None:
        field = "function_call" if request.function_call is not None else "functions"
        instead = "tool_choice" if field == "function_call" else "tools"
        raise Refusal.not_implemented(
            f"Validation: `{field}` is deprecated. Please migrate to use `{instead}` instead.", param=field
        )
    if not request.messages:
        raise _broken("The 'messages' field cannot be empty. At least one message is required.", "messages")
    _check_common(request)
    if request.max_completion_tokens is not None:
        _check_max_tokens(request.max_completion_tokens, "Max completion tokens", "max_completion_tokens")
    if request.top_logprobs is not None and request.top_logprobs > 20:
        raise _broken(f"Top_logprobs must be between 0 and 20, got {request.top_logprobs}", "top_logprobs")
    if request.add_generation_prompt is True and request.continue_final_message:
        raise _broken(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.", "continue_final_message"
        )
    if request.chat_template_args is not None and request.chat_template_kwargs is not None:
        raise _broken("duplicate field `chat_template_args`", "chat_template_kwargs")
    _check_response_format(request.response_format)
    _check_tools(request.tools, request.tool_choice)


def check_completion(request: CompletionRequest) -> None:
    """Raises Refusal for the first rule of a completions request that is broken."""
    _check_common(request)
    if request.logprobs is not None and request.logprobs > 5:
        raise _broken(f"Logprobs must be between 0 and 5, got {request.logprobs}", "logprobs")
    if request.best_of is not None:
        if request.best_of > 20:
            raise _broken(f"Best_of must be between 0 and 20, got {request.best_of}", "best_of")
        if request.n is not None and request.best_of < request.n:
            raise _broken(
                f"Best_of must be greater than or equal to n, got best_of={request.best_of} and n={request.n}",
                "best_of",
            )


def _check_response_format(response_format: dict[str, Any] | None) -> None:
    if response_format is None:
        return
    kind = response_format.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        text = f"unknown variant `{kind}`, expected one of `text`, `json_object`, `json_schema`"
        raise Refusal.invalid(f"{_UNREADABLE}{text} at `response_format.type`", param="response_format")
    given = response_format.get("json_schema")
    if kind == "json_schema" and not (isinstance(given, dict) and given.get("schema") is not None):
        text = "missing field `schema` at `response_format.json_schema`"
        raise Refusal.invalid(f"{_UNREADABLE}{text}", param="response_format")


def _check_common(request: ChatRequest | CompletionRequest) -> None:
    if not request.model:
        raise _broken("Model cannot be empty", "model")
    if request.stream_options is not None and request.stream is not True:
        raise _broken("The 'stream_options' field is only allowed when 'stream' is set to true.", "stream_options")
    for field, low, low_allowed, high, name, words in _RANGES:
        value = getattr(request, field)
        if value is not None and not (value <= high and (value > low or (low_allowed and value == low))):
            raise _broken(f"{name} must be {words}, got {_plain(value)}", field)
    if request.top_k is not None and request.top_k < -1:
        raise _broken("Top_k must be null or greater than or equal to -1", "top_k")
    if request.max_tokens is not None:
        _check_max_tokens(request.max_tokens, "Max tokens", "max_tokens")
    if request.n is not None:
        _check_n(request.n, request.temperature)
    if request.user == "":
        raise _broken("User ID cannot be empty", "user")
    _check_stop(request.stop)
    _check_token_lists(request)
    _check_logit_bias(request.logit_bias)
    _check_guided(request)


def _check_max_tokens(value: int, name: str, field: str) -> None:
    if value == 0:
        raise _broken(f"{name} must be greater than 0, got 0", field)
    if value > _MAX_TOKENS:
        raise _broken(f"{name} must not exceed {_MAX_TOKENS}, got {value}", field)


def _check_n(n: int, temperature: float | None) -> None:
    if not 1 <= n <= 128:
        raise _broken(f"n must be between 1 and 128, got {n}", "n")
    if n > 1 and temperature == 0:
        raise _broken(
            f"When n > 1, temperature must be greater than 0 to ensure diverse outputs. Got n={n}, temperature=0", "n"
        )


def _check_stop(stop: str | list[str | int] | None) -> None:
    if stop is None:
        return
    if stop == "":
        raise _broken("Stop sequence cannot be empty", "stop")
    if isinstance(stop, str):
        return
    if not stop:
        raise _broken("Stop sequences array cannot be empty", "stop")
    if len(stop) > _MAX_STOPS:
        raise Refusal.invalid(f"Maximum of {_MAX_STOPS} stop sequences allowed, got {len(stop)}", param="stop")
    strings = [isinstance(entry, str) for entry in stop]
    if any(strings) and not all(strings):
        raise Refusal.invalid(f"{_UNREADABLE}`stop` mixes strings and token ids", param="stop")
    for index, entry in enumerate(stop):
        if entry == "":
            raise _broken(f"Stop sequence at index {index} cannot be empty", "stop")
        if isinstance(entry, int) and not _is_token_id(entry):
            raise Refusal.invalid("`stop` must be an array of token IDs", param="stop")


def _check_token_lists(request: ChatRequest | CompletionRequest) -> None:
    if request.detokenize is not None and not isinstance(request.detokenize, bool):
        raise Refusal.invalid("`detokenize` must be a boolean", param="detokenize")
    for field in ("stop_token_ids", "allowed_token_ids", "logprob_token_ids"):
        value = getattr(request, field)
        if value is not None and not (isinstance(value, list) and all(map(_is_token_id, value))):
            raise Refusal.invalid(f"`{field}` must be an array of token IDs", param=field)


def _check_logit_bias(bias: dict[str, Any] | None) -> None:
    for key, value in (bias or {}).items():
        if not key.isascii() or not key.isdigit() or int(key) > 4294967295:
            raise _broken("Logit bias key must be a non-negative 32-bit integer token id", "logit_bias")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _broken(f"Logit bias value for token '{key}' must be a number, got {value!r}", "logit_bias")
        if not -100 <= value <= 100:
            raise _broken(
                f"Logit bias for token '{key}' must be between -100 and 100, got {_plain(value)}", "logit_bias"
            )


def _check_guided(request: ChatRequest | CompletionRequest) -> None:
    given = [
        name
        for name, value in (
            ("json", request.guided_json),
            ("regex", request.guided_regex),
            ("choice", request.guided_choice or None),
            ("grammar", request.guided_grammar),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise Refusal.invalid(f"Only one guided-decoding constraint can be set; received: {', '.join(given)}")


def _check_tools(tools: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    if tools is not None and not tools:
        raise _broken("tools array cannot be empty; omit the field entirely to disable tool use", "tools")
    names = [_checked_tool(tool, index) for index, tool in enumerate(tools or ())]
    if choice == "required" and not names:
        raise _broken('tool_choice is "required" but tools is empty', "tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        wanted = function.get("name") if isinstance(function, dict) else None
        if wanted not in names:
            raise _broken(f'tool named "{wanted}" in tool_choice is not present in tools', "tool_choice")


def _checked_tool(tool: dict[str, Any], index: int) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        text = f"missing field `function.name` at `tools[{index}]`"
        raise Refusal.invalid(f"{_UNREADABLE}{text}", param="tools")
    if not name:
        raise _broken(f"Function name at index {index} cannot be empty", "tools")
    if not _TOOL_NAME.match(name) or len(name) > 128:
        raise _broken(
            f'Function at index {index} has an invalid name: "{name}". Only a-z, A-Z, 0-9, underscores, and dashes are '
            "allowed.",
            "tools",
        )
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise _broken(f'Function parameters at index {index} for "{name}" must be a JSON Schema object', "tools")
    return name


def _is_token_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 4294967295


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _broken(rule: str, param: str) -> Refusal:
    return Refusal.invalid(f"Validation: {rule}", param=param)
