"""Prompts of DeepSeek V4 and V4.1: results of calls are part of what the user says next."""

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

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a \
"<｜DSML｜@CALLS@>" block like the following:

<｜DSML｜@CALLS@>
<｜DSML｜@GAP@invoke name="$TOOL_NAME">
<｜DSML｜@GAP@parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜@GAP@parameter>
...
</｜DSML｜@GAP@invoke>
<｜DSML｜@GAP@invoke name="$TOOL_NAME2">
...
</｜DSML｜@GAP@invoke>
</｜DSML｜@CALLS@>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, \
objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> \
BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

@TOOLS@

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""
_HIGH: Final = """\
Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, \
rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, \
and rejected hypothesis to ensure absolutely no assumption is left unchecked.

"""
_MAX: Final = """\
Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the \
problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause \
rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and are certain that no \
assumption remains unchecked and no error remains undiscovered.

"""
_LITTLE: Final = ("low", "minimal")
_SYSTEM: Final = "<｜System｜>"
_LEVELS: Final = {None: 75, "low": 50, "high": 75, "max": 100}
_IMAGE: Final = "<｜deepseek_image｜>"


class DeepSeekV4(NativeRenderer):
    """Earlier thoughts are left out, unless there are tools or the variable ``drop_thinking`` is false."""

    _block = "tool_calls"
    _gap = ""

    def render(
        self,
        messages: list[Message],
        tools: list[Any] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        """The prompt text; the generation prompt is part of what a user says. Raises TemplateError."""
        thinking = is_thinking(variables) and variables.get("reasoning_effort") != "none"
        conversation = _results_in_order(self._with_extras(messages, tools, variables.get("response_format")))
        forgets = not tools and self._drops_thoughts(variables)
        if thinking and forgets:
            user = last_user(conversation)
            conversation = [
                message
                for index, message in enumerate(conversation)
                if message["role"] != "developer" or user is None or index >= user
            ]
        head = self._effort(variables.get("reasoning_effort")) if thinking else ""
        user = last_user(conversation)
        turns = []
        for index, message in enumerate(conversation):
            recent = not forgets or user is None or index >= user
            turns.append(self._turn(message, is_first=index == 0 and head != "", thinks=thinking and recent))
            following = conversation[index + 1]["role"] if index + 1 < len(conversation) else "assistant"
            if following == "assistant" and self._hands_over(message["role"], user):
                turns.append(ASSISTANT + (THINK if thinking and recent else THINK_END))
        return BEGIN + head + "".join(turns)

    def _turn(self, message: Message, is_first: bool, thinks: bool) -> str:
        text: str = message["content"]
        match message["role"]:
            case "system":
                return text + extras_text(message, self._tools_template())
            case "user" | "developer":
                if not text and message["role"] == "developer":
                    raise TemplateError("a developer message needs content")
                return USER + text
            case "assistant":
                thought = (message.get("reasoning_content") or "") + THINK_END if thinks else ""
                return thought + text + calls_text(message, self._block, self._gap) + END
        raise TemplateError(f"unknown role: {message['role']}")

    def _hands_over(self, role: str, user: int | None) -> bool:
        return role in ("user", "developer")

    def _effort(self, effort: Any) -> str:
        if effort in _LITTLE:
            return ""
        return _MAX if effort == "max" else _HIGH

    def _drops_thoughts(self, variables: Mapping[str, Any]) -> bool:
        return variables.get("drop_thinking") is not False

    def _with_extras(self, messages: list[Message], tools: list[Any] | None, form: Any) -> list[Message]:
        """The conversation with text as content, tools and response format in their place."""
        texts = [{**message, "content": joined_text(message, "", None)} for message in messages]
        return with_system_extras(texts, tools, form)

    def _tools_template(self) -> str:
        return _TOOLS.replace("@CALLS@", self._gap + self._block).replace("@GAP@", self._gap)


class DeepSeekV41(DeepSeekV4):
    """Every system message has a mark of its own, a developer speaks as the system, the effort is a number, and
    pictures have a place in the text.
    """

    _block = "calls"
    _gap = " "

    def _with_extras(self, messages: list[Message], tools: list[Any] | None, form: Any) -> list[Message]:
        texts = [{**message, "content": joined_text(message, "\n\n", _IMAGE)} for message in messages]
        texts = [{**text, "role": "system"} if text["role"] == "developer" else text for text in texts]
        return with_system_extras(texts, tools, form, only_leading=True)

    def _turn(self, message: Message, is_first: bool, thinks: bool) -> str:
        if message["role"] == "system":
            text: str = message["content"]
            return ("" if is_first else _SYSTEM) + text + extras_text(message, self._tools_template())
        return super()._turn(message, is_first, thinks)

    def _hands_over(self, role: str, user: int | None) -> bool:
        return role == "user" or (role == "system" and user is not None)

    def _effort(self, effort: Any) -> str:
        level = effort if type(effort) is int else _LEVELS.get(effort if isinstance(effort, str | None) else "")
        if level is None or not 1 <= level <= 100:
            raise TemplateError("reasoning_effort must be `low`, `high`, `max` or a number from 1 to 100")
        scale = "(range 1-100, the higher the value, the more thorough the reasoning)"
        return f"{_SYSTEM}Reasoning Effort: {level} {scale}\n\n"

    def _drops_thoughts(self, variables: Mapping[str, Any]) -> bool:
        drop = variables.get("drop_thinking", True)
        if not isinstance(drop, bool):
            raise TemplateError("drop_thinking must be true or false")
        return drop


def _number(result: tuple[int | None, str]) -> int:
    return result[0] or 0


def _results_in_order(messages: list[Message]) -> list[Message]:
    """Results of calls, in the order of the calls, and what users say in a row as one message of a user. Content is
    text.
    """
    merged: list[Message] = []
    order: dict[str, int] = {}
    pending: list[tuple[int | None, str]] = []

    def close() -> None:
        if pending:
            results = iter(sorted((one for one in pending if one[0] is not None), key=_number))
            texts = [text if number is None else next(results)[1] for number, text in pending]
            merged.append({"role": "user", "content": "\n\n".join(texts)})
            pending.clear()

    for message in messages:
        if message["role"] == "tool":
            number = order.get(message.get("tool_call_id", ""), 0)
            pending.append((number, f"<tool_result>{message['content']}</tool_result>"))
        elif message["role"] == "user":
            pending.append((None, message["content"]))
        else:
            close()
            calls = message.get("tool_calls")
            if calls:
                order = {call.get("id", ""): number for number, call in enumerate(calls)}
            merged.append(message)
    close()
    return merged
