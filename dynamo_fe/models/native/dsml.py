"""What the prompts of DeepSeek's V3.2, V4 and V4.1 share: the markup of tools and calls.

Source: the models' own encoders, and what Dynamo 1.6.1 made of the conversations in tests/fixtures/native.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.models.errors import TemplateError

Message = dict[str, Any]

BEGIN: Final = "<｜begin▁of▁sentence｜>"
END: Final = "<｜end▁of▁sentence｜>"
USER: Final = "<｜User｜>"
ASSISTANT: Final = "<｜Assistant｜>"
THINK: Final = "<think>"
THINK_END: Final = "</think>"
_DSML: Final = "｜DSML｜"


def is_thinking(variables: Mapping[str, Any]) -> bool:
    """Whether the model is to think; it is, unless told otherwise."""
    for name in ("thinking", "enable_thinking"):
        if isinstance(variables.get(name), bool):
            return bool(variables[name])
    return variables.get("thinking_mode") != "chat"


def last_user(messages: list[Message]) -> int | None:
    """The index of the last message of a user or developer."""
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] in ("user", "developer")), None)


def joined_text(message: Message, between: str, image: str | None) -> str:
    """The content as one text. `image`: stands for a picture; None leaves out all that is not text."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        elif image is not None:
            if part["type"] != "image":
                raise TemplateError(f"this model takes text and images, not `{part['type']}`")
            texts.append(image)
    return between.join(texts)


def with_system_extras(
    messages: list[Message], tools: list[Any] | None, response_format: dict[str, Any] | None, only_leading: bool = False
) -> list[Message]:
    """The conversation with tools and response format in its first system message, which is added when missing or,
    with `only_leading`, not at the beginning.
    """
    extras = {"tools": tools, "response_format": response_format}
    extras = {name: value for name, value in extras.items() if value}
    if not extras:
        return messages
    at = next((index for index, message in enumerate(messages) if message["role"] == "system"), None)
    if at is None or (only_leading and at > 0):
        return [{"role": "system", "content": "", **extras}, *messages]
    return [*messages[:at], {**messages[at], **extras}, *messages[at + 1 :]]


def extras_text(message: Message, tools_template: str) -> str:
    """What follows the text of a system message: its tools, `@TOOLS@` in the template, and the response format."""
    text = ""
    if message.get("tools"):
        schemas = "\n".join(as_json(tool["function"]) for tool in message["tools"])
        text += "\n\n" + tools_template.replace("@TOOLS@", schemas)
    if message.get("response_format"):
        text += (
            "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"
            + as_json(message["response_format"])
        )
    return text


def calls_text(message: Message, block: str, gap: str) -> str:
    """The calls of an assistant's message in a block of that name; `gap` stands between mark and name of each tag."""
    calls = message.get("tool_calls")
    if not calls:
        return ""
    invokes = "\n".join(_invoke(call["function"], gap) for call in calls)
    return f"\n\n<{_DSML}{gap}{block}>\n{invokes}\n</{_DSML}{gap}{block}>"


def _invoke(function: dict[str, Any], gap: str) -> str:
    arguments = function.get("arguments")
    if not isinstance(arguments, dict):
        # cut arguments of an earlier turn
        arguments = {"arguments": arguments}
    parameters = "\n".join(_parameter(name, value, gap) for name, value in arguments.items())
    return f'<{_DSML}{gap}invoke name="{function["name"]}">\n{parameters}\n</{_DSML}{gap}invoke>'


def _parameter(name: str, value: Any, gap: str) -> str:
    is_text = isinstance(value, str)
    shown = value if is_text else as_json(value)
    string = "true" if is_text else "false"
    return f'<{_DSML}{gap}parameter name="{name}" string="{string}">{shown}</{_DSML}{gap}parameter>'


def as_json(value: Any) -> str:
    """JSON as the models were trained on: blanks behind commas and colons, no escapes beyond the necessary."""
    return json.dumps(value, ensure_ascii=False)
