"""Prompts of Kimi K3: every message an element, its parts elements inside it.

Source: what Dynamo 1.6.1 made of the conversations in tests/fixtures/native.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.models.errors import TemplateError
from dynamo_fe.models.native.base import NativeRenderer

Message = dict[str, Any]

_EFFORTS: Final = ("low", "medium", "high", "max")
_EFFORT_TEXT: Final = (
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
    "supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with `thinking_effort={}`."
)
_RAW_JSON: Final = (
    "The system is invoked with `response_format={}`.\nYour response must be raw JSON data without markdown code "
    "blocks (```json) or any additional formatting."
)
_PICTURE: Final = "<|media_pad|>"
_KINDS: Final = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class KimiK3(NativeRenderer):
    """Tools and effort are declared first, what is demanded of the answer last."""

    def render(
        self,
        messages: list[Message],
        tools: list[Any] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        """The prompt text. Raises TemplateError."""
        thinking = _is_thinking(variables)
        parts = []
        if tools:
            declared = _sorted_json(tools)
            text = f"# Tools\nHere are the available tools, described in JSONSchema.\n\n```json\n{declared}\n```"
            parts.append(_system("tool-declare", text))
        if thinking:
            parts.append(_system("thinking-effort", _EFFORT_TEXT.format(_effort(variables.get("reasoning_effort")))))
        parts += _turns(messages, thinking)
        parts += _demands(variables)
        if add_generation_prompt:
            parts.append('<|open|>message role="assistant"<|sep|>' + _opened("think" if thinking else "response"))
        return "".join(parts)


def attribute(text: str) -> str:
    """A text as the value of an attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;")


def _is_thinking(variables: Mapping[str, Any]) -> bool:
    if isinstance(variables.get("tool_choice"), dict):
        # a named function is called without a thought
        return False
    switches = (variables.get(name) for name in ("thinking", "enable_thinking"))
    return next((on for on in switches if isinstance(on, bool)), True)


def _effort(effort: Any) -> str:
    if not isinstance(effort, str):
        return "max"
    if effort not in _EFFORTS:
        raise TemplateError(f"reasoning_effort must be one of `{'`, `'.join(_EFFORTS)}`")
    return effort


def _turns(messages: list[Message], thinking: bool) -> list[str]:
    """Results of calls stand in the order of the calls."""
    turns: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[tuple[int, str]] = []
    for message in [*messages, {"role": "end"}]:
        if message["role"] == "tool":
            results.append(_result(message, calls))
            continue
        turns += [text for _, text in sorted(results, key=_number)]
        results.clear()
        if message["role"] == "assistant":
            calls = message.get("tool_calls") or calls
            turns.append(_element("message", 'role="assistant"' + _named(message), _answer(message, thinking)))
        elif message["role"] in ("user", "system", "developer"):
            role = "user" if message["role"] == "user" else "system"
            turns.append(_element("message", f'role="{role}"' + _named(message), _text(message)))
        elif message["role"] != "end":
            raise TemplateError(f"unknown role: {message['role']}")
    return turns


def _number(result: tuple[int, str]) -> int:
    return result[0]


def _result(message: Message, calls: list[dict[str, Any]]) -> tuple[int, str]:
    for number, call in enumerate(calls, 1):
        if call.get("id") == message.get("tool_call_id"):
            name = attribute(call["function"]["name"])
            return number, _element("message", f'role="tool" tool="{name}" index="{number}"', _text(message))
    raise TemplateError(f"the tool message for `{message.get('tool_call_id')}` follows no such call")


def _answer(message: Message, thinking: bool) -> str:
    thought = _opened("think") + (message.get("reasoning_content") or "") + _closed("think") if thinking else ""
    said = _opened("response") + _text(message) + _closed("response")
    calls = message.get("tool_calls")
    if not calls:
        return thought + said
    shown = "".join(_call(call["function"], number) for number, call in enumerate(calls, 1))
    return thought + said + _opened("tools") + shown + _closed("tools")


def _call(function: dict[str, Any], number: int) -> str:
    head = f'<|open|>call tool="{attribute(function["name"])}" index="{number}"<|sep|>'
    arguments = function.get("arguments")
    if not isinstance(arguments, dict):
        # cut arguments of an earlier turn
        return head + f'<|open|>json type="object"<|sep|>{arguments}' + _closed("json") + _closed("call")
    return head + "".join(_argument(*pair) for pair in arguments.items()) + _closed("call")


def _argument(name: str, value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    kind = _KINDS.get(type(value), "null")
    return f'<|open|>argument key="{attribute(name)}" type="{kind}"<|sep|>{shown}' + _closed("argument")


def _demands(variables: Mapping[str, Any]) -> list[str]:
    demands = []
    form = variables.get("response_format") or {}
    if form.get("type") in ("json_object", "json_schema"):
        text = _RAW_JSON.format(form["type"])
        schema = (form.get("json_schema") or {}).get("schema")
        if schema is not None:
            text += f"\nThe JSON data must match the following schema:\n```json\n{_sorted_json(schema)}\n```"
        demands.append(_system("response-format", text))
    choice = variables.get("tool_choice")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        demands.append(_choice("specified", f"MUST call the tool `{name}`"))
    elif choice == "required":
        demands.append(_choice("required", "MUST call tools"))
    elif choice == "none":
        demands.append(_choice("none", "MUST NOT call any tools"))
    return demands


def _choice(choice: str, demand: str) -> str:
    return _system(
        "tool-choice", f"The system is invoked with `tool_choice={choice}`.\nYou {demand} in the next message."
    )


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else _PICTURE for part in content)


def _named(message: Message) -> str:
    return f' name="{attribute(message["name"])}"' if message.get("name") else ""


def _system(kind: str, text: str) -> str:
    return _element("message", f'role="system" type="{kind}"', text)


def _element(tag: str, attributes: str, inner: str) -> str:
    return f"<|open|>{tag} {attributes}<|sep|>{inner}{_closed(tag)}<|end_of_msg|>"


def _opened(tag: str) -> str:
    return f"<|open|>{tag}<|sep|>"


def _closed(tag: str) -> str:
    return f"<|close|>{tag}<|sep|>"


def _sorted_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
