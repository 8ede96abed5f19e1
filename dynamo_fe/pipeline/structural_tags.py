"""Structural tags: the grammar, in xgrammar's format language, that holds a model to its own way of writing calls.

Source: Dynamo 1.6.1, captured family by family; where its two generations of parsers differ, the newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dynamo_fe.pipeline.kimi_k3_tag import kimi_k3_format

Format = dict[str, Any]
Tool = dict[str, Any]

_THOUGHT_END: Final = "</think>"
_NAME: Final = "\0"


class TagRequest(msgspec.Struct, frozen=True):
    """What a grammar is wanted for. `tools`: the functions that may be called; `schema_mode`: ``auto`` or ``strict``;
    `in_thought`: the prompt ends inside a thought that the grammar has to let end first; `answer_schema`: a JSON schema
    that the answer may follow instead of calling, None if there is none.
    """

    tools: list[Tool]
    must_call: bool
    named: bool
    parallel: bool
    schema_mode: str
    any_order: bool
    in_thought: bool
    answer_schema: Any = None


@dataclass(frozen=True, slots=True)
class _Family:
    """How one family writes a call: `begin` (the function's name at `_NAME`), arguments in `style`, `end`.

    `block`: what stands around all calls. `excludes`: not in the text beside calls. `banned`: not in an answer that may
    not call, as text or, with `ban_tokens`, as tokens. `named_alone`: a named call is the whole answer. `lead`: in
    front of a call that is the whole answer. `separator`: between calls without a block. `thought_excludes`: not in a
    thought; None where an open thought is only written out when a call is forced. `thought_end`, `after_thought`: what
    ends a thought and what follows it.
    """

    trigger: str
    begin: str
    end: str
    style: str = "json"
    block: tuple[str, str] | None = None
    excludes: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    ban_tokens: bool = False
    named_alone: bool = False
    lead: str = ""
    separator: str = ""
    thought_excludes: tuple[str, ...] | None = None
    thought_end: str = _THOUGHT_END
    after_thought: str = ""


_HERMES: Final = _Family(
    trigger="<tool_call>",
    begin=f'<tool_call>\n{{"name": "{_NAME}", "arguments": ',
    end="}\n</tool_call>",
    banned=("<tool_call>",),
    ban_tokens=True,
)
_QWEN_BEGIN, _QWEN_END = f"<tool_call>\n<function={_NAME}>\n", "\n</function>\n</tool_call>"
_QWEN: Final = _Family(
    trigger="<tool_call>\n<function=",
    begin=_QWEN_BEGIN,
    end=_QWEN_END,
    style="qwen_xml",
    excludes=("<think>", "</think>", "<function="),
    banned=("<tool_call>", "<function="),
    named_alone=True,
    separator="\n",
    thought_excludes=("<tool_call>", "<function="),
    after_thought="\n\n",
)
_NEMOTRON: Final = _Family(
    trigger=_QWEN.trigger,
    begin=_QWEN_BEGIN,
    end=_QWEN_END,
    style="qwen_xml",
    banned=("<tool_call>",),
    ban_tokens=True,
)
_INVOKE: Final = (f'<｜DSML｜invoke name="{_NAME}">\n', "</｜DSML｜invoke>\n")
_DEEPSEEK_V3_2: Final = _Family(
    trigger="<｜DSML｜function_calls>",
    begin=_INVOKE[0],
    end=_INVOKE[1],
    style="deepseek_xml",
    block=("<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>"),
    banned=("｜DSML｜",),
    ban_tokens=True,
)
_DEEPSEEK_V4: Final = _Family(
    trigger="<｜DSML｜tool_calls>",
    begin=_INVOKE[0],
    end=_INVOKE[1],
    style="deepseek_xml",
    block=("<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>"),
    excludes=("<think>", "</think>", "<｜DSML｜invoke name="),
    banned=("<｜DSML｜tool_calls>", "<｜DSML｜invoke name="),
    named_alone=True,
    lead="\n\n",
    thought_excludes=("<｜DSML｜tool_calls>", "<｜DSML｜invoke name="),
)
_GLM_PARTS: Final = ("</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
_GLM: Final = _Family(
    trigger="<tool_call>",
    begin=f"<tool_call>{_NAME}",
    end="</tool_call>",
    style="glm_xml",
    excludes=("<think>", "</think>", *_GLM_PARTS),
    banned=("<tool_call>", *_GLM_PARTS),
    named_alone=True,
    thought_excludes=("<tool_call>", *_GLM_PARTS),
)
_INKLING: Final = _Family(
    trigger="<|content_invoke_tool_json|>",
    begin=f'<|content_invoke_tool_json|>{{"name": "{_NAME}", "args": ',
    end="}<|end_message|>",
    banned=("<|content_invoke_tool_json|>",),
    ban_tokens=True,
    thought_end="<|end_message|>",
)
_SECTION: Final = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_KIMI_K2: Final = _Family(
    trigger=_SECTION[0],
    begin=f"<|tool_call_begin|>functions.{_NAME}:",
    end="<|tool_call_end|>",
    block=_SECTION,
)
_KIMI_K3: Final = _Family(
    trigger="",
    begin="",
    end="",
    thought_excludes=(),
    thought_end="<|close|>think<|sep|>",
)
_FAMILIES: Final = {
    "hermes": _HERMES,
    "qwen25": _HERMES,
    "qwen3_coder": _QWEN,
    "qwen3": _QWEN,
    "nemotron_nano": _NEMOTRON,
    "deepseek_v3_2": _DEEPSEEK_V3_2,
    "deepseek_v4": _DEEPSEEK_V4,
    "deepseek-v4": _DEEPSEEK_V4,
    "deepseekv4": _DEEPSEEK_V4,
    "glm47": _GLM,
    "kimi_k2": _KIMI_K2,
    "kimi_k3": _KIMI_K3,
    "kimi-k3": _KIMI_K3,
    "inkling": _INKLING,
}


def supports(parser: str) -> bool:
    """Whether the calls of this tool parser's family can be written as a structural tag."""
    return parser in _FAMILIES


def allows_answers(parser: str) -> bool:
    """Whether the family's grammar can leave the choice between calls and an answer by a schema."""
    return _FAMILIES[parser].thought_excludes is not None and _FAMILIES[parser] is not _KIMI_K3


def calls_tag(parser: str, request: TagRequest) -> Format:
    """The guidance for an answer that may, or must, call."""
    family = _FAMILIES[parser]
    called = _calls_format(family, request)
    if request.in_thought and (request.must_call or family.thought_excludes is not None):
        thought = _tag("", {"type": "any_text", "excludes": list(family.thought_excludes or ())}, family.thought_end)
        between = [_constant(family.after_thought)] if family.after_thought else []
        called = {"type": "sequence", "elements": [thought, *between, called]}
    return _as_tag(called)


def writes_thought(parser: str, must_call: bool) -> bool:
    """Whether the grammar says itself how an open thought ends, so that the engine need not wait for its end."""
    return must_call or _FAMILIES[parser].thought_excludes is not None


def no_calls_tag(parser: str) -> Format | None:
    """The guidance for an answer that may not call though the prompt shows tools; None where there is none."""
    family = _FAMILIES[parser]
    if not family.banned:
        return None
    if family.ban_tokens:
        return _as_tag(_tag("", {"type": "any_tokens", "exclude_tokens": list(family.banned)}, ""))
    return _as_tag(_tag("", {"type": "any_text", "excludes": list(family.banned)}, ""))


def _calls_format(family: _Family, request: TagRequest) -> Format:
    if family is _KIMI_K3:
        return kimi_k3_format(
            [(tool["name"], _schema(tool, request.schema_mode)) for tool in request.tools],
            must_call=request.must_call,
            named=request.named,
            parallel=request.parallel,
        )
    content = _kimi_k2_content if family is _KIMI_K2 else _json_content
    tags = [_call(family, tool, request, content) for tool in request.tools]
    if family is _KIMI_K2 and request.must_call:
        calls = tags[0] if request.named else _separated(family, tags, request.parallel)
        return {"type": "sequence", "elements": [_constant(_SECTION[0]), calls, _constant(_SECTION[1])]}
    if request.answer_schema is not None:
        answer = {"type": "json_schema", "json_schema": request.answer_schema, "style": "json"}
        calls = _separated(family, tags, request.parallel)
        return {"type": "or", "elements": [_in_block(family, calls, family.lead), answer]}
    if request.named and family.named_alone:
        return _in_block(family, _separated(family, tags, False), family.lead) if family.block else tags[0]
    triggered = _triggered(family, tags, request)
    if request.must_call and family.lead:
        return {"type": "sequence", "elements": [_constant(family.lead), triggered]}
    return triggered


def _triggered(family: _Family, tags: list[Format], request: TagRequest) -> Format:
    if family.block:
        tags = [_in_block(family, _separated(family, tags, request.parallel), "")]
    excludes = {"excludes": list(family.excludes)} if family.excludes else {}
    return {
        "type": "triggered_tags",
        "triggers": [family.trigger],
        "tags": tags,
        **excludes,
        "at_least_one": request.must_call,
        "stop_after_first": not request.parallel,
    }


def _call(family: _Family, tool: Tool, request: TagRequest, content: Callable[[Format], Format]) -> Format:
    schema: Format = {
        "type": "json_schema",
        "json_schema": _schema(tool, request.schema_mode),
        "style": family.style,
    }
    if request.any_order:
        schema["any_order"] = True
    return _tag(family.begin.replace(_NAME, tool["name"]), content(schema), family.end)


def _schema(tool: Tool, mode: str) -> Any:
    """The schema of a function's arguments; True, anything, where there is none or the client does not insist."""
    parameters = tool.get("parameters")
    loose = mode != "strict" and tool.get("strict") is False
    return True if parameters is None or loose else parameters


def _json_content(schema: Format) -> Format:
    return schema


def _kimi_k2_content(schema: Format) -> Format:
    index = {"type": "regex", "pattern": r"\d+"}
    return {"type": "sequence", "elements": [index, _constant("<|tool_call_argument_begin|>"), schema]}


def _separated(family: _Family, tags: list[Format], parallel: bool) -> Format:
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": family.separator,
        "at_least_one": True,
        "stop_after_first": not parallel,
    }


def _in_block(family: _Family, calls: Format, lead: str) -> Format:
    return calls if family.block is None else _tag(lead + family.block[0], calls, family.block[1])


def _tag(begin: str, content: Format, end: str) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _constant(value: str) -> Format:
    return {"type": "const_string", "value": value}


def _as_tag(format_: Format) -> Format:
    return {"type": "structural_tag", "format": format_}
