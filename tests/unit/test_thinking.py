"""Thinking switches that contradict each other, or are spelt oddly."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe.pipeline.thinking import engine_hints, reasoning_is_expected, template_variables, thought_is_open
from dynamo_fe.protocol.openai import ChatRequest

ON = {"enable_thinking": True, "thinking": True, "thinking_mode": "enabled"}
OFF = {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled"}


def seen(parser: str | None = "qwen3", default: Any = None, **fields: Any) -> dict[str, Any]:
    request = msgspec.convert({"model": "m", "messages": [], **fields}, ChatRequest)
    return template_variables(request, parser, default)


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ({"thinking": False, "enable_thinking": True}, OFF),
        ({"enable_thinking": False, "thinking_mode": "enabled"}, OFF),
        ({"thinking_mode": "Enabled", "reasoning_effort": "none"}, ON | {"reasoning_effort": "none"}),
        ({"thinking_mode": "chat", "reasoning_effort": "none"}, OFF | {"reasoning_effort": "none"}),
        ({"thinking_mode": "chat"}, {"thinking_mode": "chat"}),
        ({"enable_thinking": "false"}, {"enable_thinking": False, "thinking": False}),
        ({"enable_thinking": 1, "other": [1]}, {"enable_thinking": True, "thinking": True, "other": [1]}),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ({"enable_thinking": None}, {"enable_thinking": None}),
        ({"thinking_mode": ["x"]}, {"thinking_mode": ["x"]}),
    ],
)
def test_the_callers_arguments(given: dict[str, Any], variables: dict[str, Any]) -> None:
    assert seen(chat_template_kwargs=given) == variables


def test_the_requests_own_switch_wins() -> None:
    assert seen(thinking=True, chat_template_kwargs={"thinking": False}) == ON
    assert seen(thinking={"type": "adaptive"}, chat_template_kwargs={"enable_thinking": False}) == {
        "thinking_mode": "adaptive"
    }
    assert seen(reasoning_effort="low", chat_template_args={"reasoning_effort": "none"}) == ON | {
        "reasoning_effort": "low"
    }


def test_the_workers_default_fills_silence_only() -> None:
    assert seen(default="disabled") == OFF
    assert seen(default="disabled", chat_template_kwargs={"other": 1}) == OFF | {"other": 1}
    assert seen(default="disabled", chat_template_kwargs={"thinking_mode": "chat"}) == {"thinking_mode": "chat"}
    assert seen(default=["nonsense"]) == {}


def test_families_with_a_default_of_their_own() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    assert seen("kimi-k3") == {"enable_thinking": True, "thinking": True}
    assert seen("kimi_k3", tool_choice=named) == {"enable_thinking": False, "thinking": False}
    assert seen("kimi_k3", tool_choice=named, thinking=True) == ON | {"enable_thinking": False, "thinking": False}
    assert seen("kimi_k25", tool_choice=named) == {"enable_thinking": True, "thinking": True}
    assert seen("minimax_m3", tool_choice="required") == OFF
    assert seen("minimax_m3") == {}


def test_engines_are_told_of_thoughts() -> None:
    assert reasoning_is_expected("qwen3", {}) and not reasoning_is_expected("granite", {})
    assert engine_hints("qwen3", {}, "<think>\n") == {}
    assert engine_hints("minimax_m2", OFF, "<think>\n") == {
        "reasoning_parser_kwargs": {"chat_template_kwargs": OFF},
        "reasoning_ended": False,
    }


def test_where_a_prompt_ends_inside_a_thought() -> None:
    assert thought_is_open("qwen3", "…<think>\n") and not thought_is_open("qwen3", "…<think>\n\n</think>\n\n")
    assert thought_is_open("kimi_k3", "…<|open|>think<|sep|>") and not thought_is_open("kimi_k3", "…<think>")
    assert not thought_is_open("qwen3", None)
