"""Whether a model is to think before it answers: the switches of a request, what the template sees of them, and what
each reasoning parser makes of them.

Source: Dynamo 1.6.1, captured switch by switch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dynamo_fe.pipeline.demands import asks_for_json, must_call, named_function
from dynamo_fe.protocol.openai import ChatRequest

_SWITCHES: Final = ("thinking", "enable_thinking", "thinking_mode", "reasoning_effort")
_MODES: Final = {"enabled": True, "disabled": False}
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")
# their templates think unless told otherwise, and ask for the switch
_THINK_BY_DEFAULT: Final = ("kimi_k25", "kimi_k3")

Rule = Callable[[Any], bool]


# Whether a request that says neither on nor off counts as on, by the `thinking_mode` it may have.
def _unless_off(_: Any) -> bool:
    return True


def _unless_chat(mode: Any) -> bool:
    return bool(mode != "chat")


def _if_asked(mode: Any) -> bool:
    return bool(mode == "thinking")


def _if_on(_: Any) -> bool:
    return False


# parsers that are not listed read every answer
_PARSED: Final[dict[str, Rule]] = {
    **dict.fromkeys(("deepseek_r1", "deepseek_v3_2", "deepseek_v4", "deepseek_v41", "minimax_m2"), _unless_chat),
    **dict.fromkeys(("kimi_k25", "kimi_k3", "minimax_m3", "nemotron3", "nemotron_nano", "muse_glimmer"), _unless_off),
    **dict.fromkeys(("deepseek_v3", "deepseek_v3_1"), _if_asked),
    "gemma4": _if_on,
}
# parsers that are not listed tell the engine nothing
_EXPECTED: Final[dict[str, Rule]] = {
    **dict.fromkeys(("qwen3", "glm45", "kimi_k25", "kimi_k3", "nemotron3", "nemotron_nano", "minimax_m3"), _unless_off),
    **dict.fromkeys(("deepseek_v3_2", "deepseek_v4", "deepseek_v41", "minimax_m2"), _unless_chat),
    **dict.fromkeys(("deepseek_v3", "deepseek_v3_1"), _if_asked),
    "gemma4": _if_on,
}
# how an open thought begins where it is not `<think>`
_OPENERS: Final = {
    "minimax_m3": "<mm:think>",
    "gemma4": "<|channel>thought",
    "kimi_k3": "<|open|>think<|sep|>",
}
_TAIL_CHARS: Final = 64
_TELL_OPEN: Final = ("deepseek_v41", "kimi_k3", "minimax_m2", "minimax_m3")
_EXPECTED_ALWAYS: Final = ("deepseek_r1", "step3", "kimi")
_ALIASES: Final = {
    "qwen3_coder": "qwen3",
    "glm47": "glm45",
    "deepseekv4": "deepseek_v4",
    "nemotron_v3": "nemotron3",
    "muse": "muse_glimmer",
}


def template_variables(request: ChatRequest, parser: str | None, default_mode: Any) -> dict[str, Any]:
    """What stands at the template's top level beside messages and tools: the caller's arguments, and the thinking
    switch under each name that templates ask for.

    `parser`: the model's reasoning parser; `default_mode`: ``default_thinking_mode`` of its worker, used when the
    request says nothing. Of switches that contradict each other the one first in `_SWITCHES` counts, and the request's
    own `thinking` before all of them.
    """
    if request.everyday and parser is None and default_mode is None:
        return {}
    variables = dict(request.chat_template_args or request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        variables["reasoning_effort"] = request.reasoning_effort
    own = request.thinking.get("type") if isinstance(request.thinking, dict) else request.thinking
    if own is not None:
        _set(variables, own if isinstance(own, bool) else _MODES.get(own), own)
    elif any(name in variables for name in _SWITCHES):
        _settle(variables)
    elif isinstance(default_mode, str) and default_mode in _MODES:
        _set(variables, _MODES[default_mode], default_mode)
    if parser is not None:
        _apply_family_rule(canonical(parser), request, variables)
    return variables


def reasoning_is_parsed(parser: str, variables: Mapping[str, Any]) -> bool:
    """Whether an answer to a prompt made with these variables is split into thought and text."""
    return _is_on(canonical(parser), variables, _PARSED, unlisted=True)


def reasoning_is_expected(parser: str, variables: Mapping[str, Any]) -> bool:
    """Whether the engine is told to let a thought pass before it holds the answer to its constraint."""
    name = canonical(parser)
    return name in _EXPECTED_ALWAYS or _is_on(name, variables, _EXPECTED, unlisted=False)


def _apply_family_rule(name: str, request: ChatRequest, variables: dict[str, Any]) -> None:
    """Some families think where nothing is said plainly, some do not before a call or JSON that is demanded."""
    if name == "kimi_k3" and named_function(request) is not None:
        variables |= {"enable_thinking": False, "thinking": False}
    elif name in _THINK_BY_DEFAULT and _plain(variables) is None:
        variables |= {"enable_thinking": True, "thinking": True}
    elif name == "minimax_m3" and (must_call(request) or asks_for_json(request)):
        if not any(switch in variables for switch in _SWITCHES):
            _set(variables, False, None)


def thought_is_open(parser: str | None, prompt: str | None) -> bool:
    """Whether the prompt's text ends inside a thought."""
    opener = _OPENERS.get(canonical(parser or ""), "<think>")
    return prompt is not None and prompt[-_TAIL_CHARS:].rstrip().endswith(opener)


def engine_hints(parser: str, variables: Mapping[str, Any], prompt: str | None) -> dict[str, Any]:
    """What the worker's `extra_args` tell an engine that reads thoughts itself."""
    hints: dict[str, Any] = {}
    if variables:
        hints["reasoning_parser_kwargs"] = {"chat_template_kwargs": variables}
    if canonical(parser) in _TELL_OPEN and thought_is_open(parser, prompt):
        hints["reasoning_ended"] = False
    return hints


def canonical(parser: str) -> str:
    """One spelling of a reasoning parser's name."""
    name = parser.replace("-", "_")
    return _ALIASES.get(name, name)


def _is_on(name: str, variables: Mapping[str, Any], rules: Mapping[str, Rule], unlisted: bool) -> bool:
    if name == "mistral":
        return variables.get("reasoning_effort") not in (None, "none")
    rule = rules.get(name)
    if rule is None:
        return unlisted
    on = _plain(variables)
    return rule(variables.get("thinking_mode")) if on is None else on


def _plain(variables: Mapping[str, Any]) -> bool | None:
    for name in ("thinking", "enable_thinking"):
        if isinstance(variables.get(name), bool):
            return bool(variables[name])
    return None


def _settle(variables: dict[str, Any]) -> None:
    """One switch under all names; a clear word before one that has to be guessed at."""
    for name in _SWITCHES:
        on = _clear(name, variables.get(name))
        if on is not None:
            _set(variables, on, None)
            return
    for name in _SWITCHES[:3]:
        on = _guessed(variables.get(name))
        if on is not None:
            variables |= {"enable_thinking": on, "thinking": on}
            return


def _clear(name: str, value: Any) -> bool | None:
    if name == "reasoning_effort":
        return value != "none" if isinstance(value, str) else None
    if name == "thinking_mode":
        return _MODES.get(value.strip().lower()) if isinstance(value, str) else None
    return value if isinstance(value, bool) else None


def _guessed(value: Any) -> bool | None:
    if isinstance(value, str):
        word = value.strip().lower()
        return word in _TRUE if word in (*_TRUE, *_FALSE) else None
    return bool(value) if isinstance(value, int | float) else None


def _set(variables: dict[str, Any], on: bool | None, mode: Any) -> None:
    """All names of the switch; a mode that is neither on nor off stands alone."""
    if on is None:
        variables.pop("enable_thinking", None)
        variables.pop("thinking", None)
        variables["thinking_mode"] = mode
    else:
        variables |= {"enable_thinking": on, "thinking": on, "thinking_mode": "enabled" if on else "disabled"}
