"""The table of tool-call formats: what opens a region of calls, who reads it, and what closes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from dynamo_fe.parsers import call_ids
from dynamo_fe.parsers.feed import Feed, Reading
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.reasoning.formats import K3_OTHERS
from dynamo_fe.parsers.state import Action, State, drop_marker, show_and_begin
from dynamo_fe.parsers.tool_calls import bare, braces, key_values, name_first, nested_tags, pythonic
from dynamo_fe.parsers.tool_calls.json_calls import NAMED, CallShape, read_calls
from dynamo_fe.parsers.tool_calls.tags import Tags, read_tags

# Reads what an opener began; the opener was taken.
Reader: TypeAlias = Callable[[State, str], Reading[None]]


@dataclass(frozen=True, slots=True)
class Region:
    """`closer` ends the region; what cannot be read is text up to it. `certain`: the opener is no word of prose."""

    read: Reader
    closer: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """`regions` by opener. `orphans` are closers, dropped where nothing is open. `others` are further markers of
    content. `bare` reads calls without an opener at the beginning of content, `starts` are the characters it may begin
    with. `gaps`: blanks between calls are content.
    """

    regions: Mapping[str, Region]
    orphans: frozenset[str] = frozenset()
    others: Mapping[str, Action] = field(default_factory=dict)
    bare: Callable[[State], Reading[None]] | None = None
    starts: str = ""
    call_id: Callable[[str, int, str | None], str] = call_ids.uuid_id
    gaps: bool = False


def _json(
    regions: Mapping[str, str],
    shape: CallShape = NAMED,
    bare: Callable[[State], Reading[None]] | None = None,
    starts: str = "",
    others: Mapping[str, Action] | None = None,
) -> ToolFormat:
    """JSON calls, with the closer of each opener or ""."""

    def read(closer: str) -> Reader:
        ends = Markers([closer] if closer else [])

        def region(state: State, marker: str) -> Reading[None]:
            yield from read_calls(state.feed, state.output, shape)
            yield from state.feed.accept_spaced(ends)

        return region

    return ToolFormat(
        {opener: Region(read(closer), closer) for opener, closer in regions.items()},
        orphans=frozenset(filter(None, regions.values())),
        bare=bare,
        starts=starts,
        others=others or {},
    )


def _tags(tags: Tags, others: Mapping[str, Action] | None = None, separator: str = "") -> ToolFormat:
    """Calls in tags. `separator`: blanks in front of a block that are no content."""

    def block(state: State, marker: str) -> Reading[None]:
        yield from read_tags(state.feed, state.output, tags, state.schemas, in_block=True)

    def call(state: State, marker: str) -> Reading[None]:
        yield from read_tags(state.feed, state.output, tags, state.schemas, in_block=False)

    regions = {tags.call: Region(call, tags.call_end)}
    for opener, closer in tags.blocks:
        regions[opener] = Region(block, closer)
        if separator:
            regions[separator + opener] = Region(block, closer)
    call_id = call_ids.counted_id if tags.typing == "type" else call_ids.uuid_id
    orphans = frozenset(closer for _, closer in tags.blocks)
    return ToolFormat(regions, orphans, others or {}, call_id=call_id)


def _dsml(space: str, block: str) -> ToolFormat:
    prefix = f"｜DSML｜{space}"
    tags = Tags(
        blocks=((f"<{prefix}{block}>", f"</{prefix}{block}>"),),
        call=f"<{prefix}invoke",
        call_end=f"</{prefix}invoke>",
        value=f"<{prefix}parameter",
        value_end=f"</{prefix}parameter>",
        typing="string",
        object_open="" if space else None,
    )
    return _tags(tags, separator="\n\n")


def _xml(*blocks: tuple[str, str]) -> ToolFormat:
    """Qwen's tags in blocks of these names."""
    tags = Tags(blocks, "<function=", "</function>", "<parameter=", "</parameter>", own_lines=True)
    return _tags(tags)


def _glm(blocks: Mapping[str, str]) -> ToolFormat:
    """Keys and values; the blocks around the calls say nothing."""

    def read(state: State, marker: str) -> Reading[None]:
        yield from key_values.read_key_values(state.feed, state.output, state.schemas)

    orphans = frozenset({key_values.CALL_END, *blocks, *blocks.values()})
    return ToolFormat({key_values.CALL: Region(read, key_values.CALL_END)}, orphans, gaps=not blocks)


def _braces(opener: str, closer: str, quote: str) -> ToolFormat:
    ends = Markers([closer])

    def read(state: State, marker: str) -> Reading[None]:
        yield from braces.read_braces(state.feed, state.output, quote, ends)

    return ToolFormat({opener: Region(read, closer)}, frozenset({closer}))


def _nested() -> ToolFormat:
    def read(state: State, marker: str) -> Reading[None]:
        in_block = marker == nested_tags.BLOCK
        yield from nested_tags.read_nested(state.feed, state.output, state.schemas, in_block)

    regions = {
        nested_tags.BLOCK: Region(read, nested_tags.BLOCK_END),
        nested_tags.CALL: Region(read, nested_tags.CALL_END),
    }
    return ToolFormat(regions, frozenset({nested_tags.BLOCK_END}))


def _pythonic(regions: Mapping[str, str], also_bare: bool, in_lines: bool = False) -> ToolFormat:
    """Python calls, a list of them or one a line; LFM2 may write JSON in their place."""

    def read(closer: str) -> Reader:
        ends = Markers([closer])

        def region(state: State, marker: str) -> Reading[None]:
            feed = state.feed
            yield from feed.skip_space()
            if in_lines and (yield from feed.need()) != "[":
                yield from pythonic.read_lines(feed, state.output)
            else:
                yield from bare.read_list_or_json(feed, state.output)
            yield from feed.accept_spaced(ends)

        return region

    def read_bare(state: State, marker: str) -> Reading[None]:
        yield from pythonic.read_list(state.feed, state.output, bare=True)

    table = {opener: Region(read(closer), closer) for opener, closer in regions.items()}
    if also_bare:
        table["["] = Region(read_bare, "", certain=False)
    return ToolFormat(table, frozenset(regions.values()))


def _name_first(
    reader: Callable[[Feed, Output, str], Reading[None]],
    regions: Mapping[str, str],
    call_id: Callable[[str, int, str | None], str] = call_ids.uuid_id,
    bare: Callable[[State], Reading[None]] | None = None,
    starts: str = "",
) -> ToolFormat:
    def read(state: State, marker: str) -> Reading[None]:
        yield from reader(state.feed, state.output, marker)

    table = {opener: Region(read, closer) for opener, closer in regions.items()}
    return ToolFormat(table, frozenset(filter(None, regions.values())), bare=bare, starts=starts, call_id=call_id)


def _angle(name: str) -> tuple[str, str]:
    return f"<{name}>", f"</{name}>"


_HERMES: Final = _json(dict([_angle("tool_call")]))
_NEMOTRON: Final = _json(dict([_angle("TOOLCALL")]), bare=bare.read_json, starts="[")
_TOOL_CALLS_TAG: Final = _json(dict([_angle("tool_calls")]))
_PYTHON_TAG: Final = "<|python_tag|>"
_QWEN_XML: Final = _xml(_angle("tool_call"))
_DEEPSEEK_V3: Final = _name_first(
    name_first.read_deepseek,
    {name_first.DEEPSEEK_BLOCK: name_first.DEEPSEEK_BLOCK_END, name_first.DEEPSEEK_CALL: name_first.DEEPSEEK_CALL_END},
)
_KIMI: Final = _name_first(
    name_first.read_kimi,
    {**name_first.KIMI_SECTIONS, name_first.KIMI_CALL: name_first.KIMI_CALL_END},
    call_ids.given_id,
)
_GLM: Final = _glm({})
_COHERE_SHAPE: Final = CallShape(names=frozenset({"tool_name", "name"}))

# Formats by name; channels, which hold calls and thoughts alike, are in a table of their own.
TOOL_FORMATS: Final[Mapping[str, ToolFormat]] = {
    "hermes": _HERMES,
    "nemotron_deci": _NEMOTRON,
    "default": _json(
        dict([_angle("TOOLCALL"), (_PYTHON_TAG, "")]),
        bare=bare.read_json,
        starts="{[",
    ),
    "jamba": _TOOL_CALLS_TAG,
    "phi4": ToolFormat({"functools": Region(bare.read_functools, "", certain=False)}),
    "mistral": _name_first(
        name_first.read_mistral,
        {name_first.MISTRAL_CALLS: name_first.MISTRAL_END},
        call_ids.nine_characters,
        bare=bare.read_json,
        starts="[",
    ),
    "llama3_json": _json({_PYTHON_TAG: ""}, bare=bare.read_json, starts="{["),
    "pythonic": _pythonic({"<|python_start|>": "<|python_end|>"}, also_bare=True),
    "deepseek_v3": _DEEPSEEK_V3,
    "deepseek_v3_2": _dsml("", "function_calls"),
    "deepseek_v4": _dsml("", "tool_calls"),
    "deepseek_v41": _dsml(" ", "calls"),
    "qwen3_coder": _QWEN_XML,
    "minimax_m2": _tags(
        Tags(
            blocks=(_angle("minimax:tool_call"),),
            call="<invoke",
            call_end="</invoke>",
            value="<parameter",
            value_end="</parameter>",
        )
    ),
    "minimax_m3": _nested(),
    "glm47": _GLM,
    "kimi_k2": _KIMI,
    "kimi_k3": _tags(
        Tags(
            blocks=(("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),),
            call="<|open|>call",
            call_end="<|close|>call<|sep|>",
            value="<|open|>argument",
            value_end="<|close|>argument<|sep|>",
            tag_end="<|sep|>",
            typing="type",
            object_open="<|open|>json",
            names=("tool", "name"),
        ),
        others=K3_OTHERS,
    ),
    "gemma4": _braces("<|tool_call>", "<tool_call|>", '<|"|>'),
    "granite": _json({"<|tool_call|>": "", "<tool_call>": "</tool_call>"}),
    "granite_20b_fc": _json({"<function_call>": ""}),
    "internlm": _json(
        {"<|action_start|><|plugin|>": "<|action_end|>", "<|action_start|> <|plugin|>": "<|action_end|>"}
    ),
    "xlam": _json({}, bare=bare.read_fenced_json, starts="[`", others={"</think>": show_and_begin}),
    "hy_v3": _glm(dict([_angle("tool_calls")])),
    "longcat": _json(dict([_angle("longcat_tool_call")])),
    "olmo3": _pythonic(dict([_angle("function_calls")]), also_bare=False, in_lines=True),
    "seed_oss": _xml(_angle("seed:tool_call")),
    "step3": _tags(
        Tags(
            blocks=(("<｜tool_call_begin｜>function<｜tool_sep｜>", "<｜tool_call_end｜>"),),
            call="<steptml:invoke",
            call_end="</steptml:invoke>",
            value="<steptml:parameter",
            value_end="</steptml:parameter>",
        ),
        others=dict.fromkeys(("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>"), drop_marker),
    ),
    "lfm2": _pythonic({"<|tool_call_start|>": "<|tool_call_end|>"}, also_bare=False),
    "functiongemma": _braces("<start_function_call>", "<end_function_call>", "<escape>"),
    "apertus": _json({"<|tools_prefix|>": "<|tools_suffix|>"}, CallShape(keyed=True)),
    "cohere_command": _json({"<|START_ACTION|>": "<|END_ACTION|>"}, _COHERE_SHAPE),
    "gigachat3": _json({"<|function_call|>": "", "function call<|role_sep|>\n": ""}, others={"</s>": drop_marker}),
}
