"""What is looked for in the answers to a chat request, from the request and its model."""

from __future__ import annotations

from typing import Final

from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.parsers.registry import knows_tool_parser
from dynamo_fe.pipeline.demands import must_call, named_function
from dynamo_fe.pipeline.guidance import client_constraint
from dynamo_fe.pipeline.thinking import reasoning_is_parsed, template_variables
from dynamo_fe.protocol.card import ModelCard, RuntimeConfig
from dynamo_fe.protocol.openai import ChatRequest

_TAIL_CHARS: Final = 64
# their markers are special tokens, which the text has to show also when nothing is looked for
_SPECIAL_MARKERS: Final = frozenset(
    """deepseek_v41 minimax_m3 minimax-m3 minimax_m3_nom minimax-m3-nom kimi_k2 kimi_k25 kimi_k3 kimi-k3 gemma4 gemma-4
    inkling muse muse_glimmer harmony""".split()
)


def parse_plan(request: ChatRequest, config: RuntimeConfig, prompt: str | None) -> ParsePlan | None:
    """None when the text of the answers is the content as it is. `prompt`: its text, None for token input."""
    if request.everyday and config.reasoning_parser is None:
        return None
    tools = request.tools if request.tool_choice != "none" else None
    forced = must_call(request)
    tool_parser = config.tool_call_parser if tools and not _unknown(config) else None
    reasoning_parser = config.reasoning_parser
    if reasoning_parser is not None:
        # a template that was told not to think, because a call is demanded, may have a model that thinks all the same
        said = template_variables(request, None, config.runtime_data.get("default_thinking_mode"))
        if not reasoning_is_parsed(reasoning_parser, said):
            reasoning_parser = None
    if tool_parser is None and config.reasoning_parser is None and not forced:
        return None
    return ParsePlan(
        tool_parser=tool_parser,
        reasoning_parser=reasoning_parser,
        schemas={tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools or ()},
        forced=forced,
        named=named_function(request),
        parallel=request.parallel_tool_calls is not False,
        guided=client_constraint(request) is not None,
        prompt_tail="" if prompt is None else prompt[-_TAIL_CHARS:],
        counts_reasoning=config.reasoning_parser is not None,
    )


def markers_matter(config: RuntimeConfig, plan: ParsePlan | None) -> bool:
    """Whether the text of the answers has to show special tokens."""
    if config.tool_call_parser in _SPECIAL_MARKERS or config.reasoning_parser in _SPECIAL_MARKERS:
        return True
    return plan is not None and (plan.tool_parser is not None or plan.reasoning_parser is not None)


def unknown_parser(card: ModelCard) -> str | None:
    """What to tell an operator of a tool parser that nobody knows. Another reasoning parser means `basic`."""
    config = card.runtime_config
    return f"tool call parser `{config.tool_call_parser}` is unknown, calls stay text" if _unknown(config) else None


def _unknown(config: RuntimeConfig) -> bool:
    return config.tool_call_parser is not None and not knows_tool_parser(config.tool_call_parser)
