"""Prompts of DeepSeek V3.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.models.errors import TemplateError
from dynamo_fe.models.native.base import NativeRenderer
from dynamo_fe.models.native.dsml import (
    ASSISTANT,
    BEGIN,
    END,
    THINK,
    THINK_END,
    USER,
    Message,
    calls_text,
    extras_text,
    is_thinking,
    joined_text,
    last_user,
    with_system_extras,
)

_TOOLS: Final = """\
## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the \
user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should \
use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types \
(numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. \
Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
@TOOLS@
</functions>
"""


class DeepSeekV32(NativeRenderer):
    """A thought is open behind the last user's message, and behind the last result of its calls."""

    def render(
        self,
        messages: list[Message],
        tools: list[Any] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        """The prompt text; the generation prompt is part of what a user says. Raises TemplateError."""
        conversation = with_system_extras(messages, tools, variables.get("response_format"))
        thinking, user = is_thinking(variables), last_user(conversation)
        return BEGIN + "".join(_turn(conversation, index, thinking, user) for index in range(len(conversation)))


def _turn(messages: list[Message], index: int, thinking: bool, user: int | None) -> str:
    message = messages[index]
    text = joined_text(message, "", None)
    match message["role"]:
        case "system":
            return text + extras_text(message, _TOOLS)
        case "user":
            return USER + text + ASSISTANT + (THINK if thinking and index == user else THINK_END)
        case "developer":
            asked = f"\n\n# The user's message is: {text}"
            return USER + asked + ASSISTANT + (THINK if thinking and index == user else THINK_END)
        case "assistant":
            thought = message.get("reasoning_content")
            is_after_user = user is not None and index > user
            begun = thought + THINK_END if thought and thinking and is_after_user else ""
            return begun + text + calls_text(message, "function_calls", "") + END
        case "tool":
            return _result(messages, index, text, thinking and user is not None and index >= user)
    raise TemplateError(f"unknown role: {message['role']}")


def _result(messages: list[Message], index: int, text: str, thinks_on: bool) -> str:
    """One result: the first opens the block, that of the last call closes it."""
    first = index
    while first > 0 and messages[first - 1]["role"] == "tool":
        first -= 1
    caller = messages[first - 1] if first > 0 else {}
    number, calls = index - first + 1, len(caller.get("tool_calls") or ())
    shown = ("\n\n<function_results>" if number == 1 else "") + f"\n<result>{text}</result>"
    if number == calls:
        shown += "\n</function_results>\n\n" + (THINK if thinks_on else THINK_END)
    return shown
