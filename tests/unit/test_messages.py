"""Messages as chat templates see them."""

from typing import Any

import pytest

from dynamo_fe.pipeline.messages import Style, template_messages, template_tools, without_broken_arguments
from dynamo_fe.pipeline.refusal import Refusal


def seen(*messages: dict[str, Any], reasoning: bool = True, parts: bool = False) -> list[dict[str, Any]]:
    return template_messages(list(messages), Style(reasoning, parts))


def test_text_parts_are_joined_or_kept_as_the_template_wants() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert seen(message) == [{"role": "user", "content": "a\nb"}]
    assert seen({"role": "user", "content": "a"}, parts=True)[0]["content"] == [{"type": "text", "text": "a"}]


def test_unknown_keys_and_null_content_are_dropped_names_kept() -> None:
    message = {"role": "assistant", "content": None, "name": "n", "x": 1, "tool_calls": []}
    assert seen(message) == [{"role": "assistant", "name": "n", "tool_calls": []}]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [('{"b":1,"a":2}', {"b": 1, "a": 2}), ('{"cut": ', '{"cut": '), ("", {}), ("[1]", "[1]"), (None, {})],
)
def test_arguments_become_objects_and_cut_ones_stay_text(arguments: Any, shown: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    [message] = seen({"role": "assistant", "tool_calls": [call]})
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": shown}


def test_earlier_reasoning_goes_where_the_template_can_see_it() -> None:
    message = {"role": "assistant", "content": "t", "reasoning": "r"}
    assert seen(message) == [{"role": "assistant", "content": "t", "reasoning_content": "r"}]
    assert seen(message, reasoning=False) == [{"role": "assistant", "content": "<think>r</think>t"}]


@pytest.mark.parametrize(
    "message",
    [{}, {"role": "robot", "content": "x"}, {"role": "user"}, {"role": "user", "content": 7},
     {"role": "user", "content": [{"type": "smell"}]}, {"role": "assistant", "tool_calls": [{"function": {}}]}],
)  # fmt: skip
def test_what_is_no_message_is_a_400_naming_the_place(message: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"messages\[0\]") as refused:
        seen(message)
    assert refused.value.status == 400


def test_tools_get_an_empty_description_and_schema_in_order() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    [tool] = template_tools(tools) or []
    assert list(tool["function"]) == ["name", "parameters", "description"]
    assert tool["function"] == {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
    assert template_tools(None) is None


@pytest.mark.parametrize("arguments", ["", '{"a": ', "[1]", "null"])
def test_arguments_that_no_template_can_take_become_an_empty_object(arguments: str) -> None:
    good = {"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}
    bad = {"id": "2", "function": {"name": "g", "arguments": arguments}}
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [good, bad]}]
    mended = without_broken_arguments(messages)
    assert mended is not None
    assert mended[1]["tool_calls"] == [good, {"id": "2", "function": {"name": "g", "arguments": {}}}]
    assert bad["function"] == {"name": "g", "arguments": arguments}


def test_whole_arguments_are_left_alone() -> None:
    calls = [{"function": {"name": "f", "arguments": arguments}} for arguments in ({}, '{"a": 1}')]
    assert without_broken_arguments([{"role": "assistant", "tool_calls": calls}, {"role": "user"}]) is None
