"""OpenAI messages and tools in the form that chat templates are written for."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import orjson

from dynamo_fe.pipeline.refusal import Refusal

_ROLES: Final = ("developer", "system", "user", "assistant", "tool", "function")
# what a template may see of a message; other keys are dropped
_KEYS: Final = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call")


# content parts whose data goes to the worker by another way, and what a template sees in their place
_MEDIA: Final = {"image_url": "image", "video_url": "video", "audio_url": "audio"}


# of a tool, in the original's order
_FUNCTION_KEYS: Final = ("name", "description", "parameters", "strict")


class Style(msgspec.Struct, frozen=True):
    """What a template can take.

    `reasoning`: it reads `reasoning_content` itself; otherwise earlier reasoning goes in front of the content as
    `<think>…</think>`. `parts`: it iterates over content parts, so text becomes a list of one part; otherwise text
    parts are joined with a newline. `argument_text`: it asks whether the arguments of a call are a string.
    `media_mark`: what stands in a text for a picture, `{n}` its number; "" where such a message is shown as parts.
    """

    reasoning: bool = True
    parts: bool = False
    argument_text: bool = False
    media_mark: str = ""


class Parts(list[dict[str, Any]]):
    """Content parts; a template that prints them shows JSON, as with the original."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


def template_messages(messages: list[dict[str, Any]], style: Style) -> list[dict[str, Any]]:
    """The messages as the template gets them. Raises Refusal for a message that is none."""
    return [_message(message, index, style) for index, message in enumerate(messages)]


def template_tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The tools as given, with an empty description and an empty object schema filled in."""
    if not tools:
        return None
    return [_tool(tool) for tool in tools]


def without_broken_arguments(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The messages with `{}` for every arguments text that is no JSON object; None when there is none."""
    mended, changed = [], False
    for message in messages:
        calls = message.get("tool_calls")
        if calls:
            whole = [call if _is_whole(call) else _emptied(call) for call in calls]
            if any(call is not before for call, before in zip(whole, calls, strict=True)):
                message, changed = {**message, "tool_calls": whole}, True
        mended.append(message)
    return mended if changed else None


def _is_whole(call: dict[str, Any]) -> bool:
    arguments = call["function"]["arguments"]
    return not isinstance(arguments, str) or (arguments != "" and isinstance(_arguments(arguments), dict))


def _emptied(call: dict[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": {}}}


def _message(message: dict[str, Any], index: int, style: Style) -> dict[str, Any]:
    where = f"messages[{index}]"
    role = message.get("role")
    if role not in _ROLES:
        raise _malformed(
            f"missing field `role` at `{where}`"
            if role is None
            else f"unknown variant `{role}`, expected one of `{'`, `'.join(_ROLES)}` at `{where}.role`"
        )
    out = {key: message[key] for key in _KEYS if message.get(key) is not None}
    content = message.get("content")
    if content is None:
        if role not in ("assistant", "function"):
            raise _malformed(f"missing field `content` at `{where}`")
    else:
        out["content"] = _content(content, f"{where}.content", style)
    calls = out.get("tool_calls")
    if calls is not None:
        out["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls", style)
    if role == "assistant":
        _keep_reasoning(out, message, style)
    return out


def _content(content: Any, where: str, style: Style) -> Any:
    """Text parts alone are joined with a newline; between media they stand as they are, each of the media a mark."""
    if isinstance(content, str):
        return Parts([{"type": "text", "text": content}]) if style.parts else content
    if not isinstance(content, list):
        raise _malformed(f"expected a string or an array of parts at `{where}`")
    parts = Parts(_part(part, f"{where}[{index}]") for index, part in enumerate(content))
    if style.parts:
        return parts
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    if not style.media_mark:
        return parts
    texts, marks = [], 0
    for part in parts:
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            marks += 1
            texts.append(style.media_mark.format(n=marks))
    return "".join(texts)


def _part(part: Any, where: str) -> dict[str, Any]:
    """A part as a template that takes parts wants it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind in _MEDIA:
        return {"type": _MEDIA[kind]}
    if kind in ("input_audio", "refusal"):
        return dict(part)
    raise _malformed(f"not a content part: type `{kind}` at `{where}`")


def _tool_calls(calls: Any, where: str, style: Style) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise _malformed(f"expected an array at `{where}`")
    out = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _malformed(f"missing field `function.name` at `{where}[{index}]`")
        arguments = function.get("arguments")
        if not (style.argument_text and isinstance(arguments, str)):
            arguments = _arguments(arguments)
        out.append({**call, "function": {**function, "arguments": arguments}})
    return out


def _arguments(arguments: Any) -> Any:
    """Decoded arguments; text that is no JSON object stays text, so that a cut call in the history spoils nothing."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        decoded = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def _keep_reasoning(out: dict[str, Any], message: dict[str, Any], style: Style) -> None:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, list):
        reasoning = "\n".join(reasoning)
    if not isinstance(reasoning, str):
        return
    if style.reasoning:
        out["reasoning_content"] = reasoning
        return
    thought = f"<think>{reasoning}</think>"
    content = out.get("content", "")
    first = {"type": "text", "text": thought}
    out["content"] = thought + content if isinstance(content, str) else Parts([first, *content])


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """What is known of a tool, in the order given and without nulls; a description is appended where there is none."""
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    filled = {key: function[key] for key in _FUNCTION_KEYS if function.get(key) is not None}
    filled.setdefault("description", "")
    parameters = filled.get("parameters")
    if isinstance(parameters, dict):
        filled["parameters"] = {**parameters}
        filled["parameters"].setdefault("type", "object")
        filled["parameters"].setdefault("properties", {})
    return {"type": tool.get("type", "function"), "function": filled}


def _malformed(text: str) -> Refusal:
    return Refusal.invalid(f"Failed to deserialize the JSON body into the target type: {text}", param="messages")
