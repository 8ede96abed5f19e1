"""A tool format and a reasoning format together: which marker is live where, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dynamo_fe.parsers import call_ids
from dynamo_fe.parsers.channels import CHANNEL_FORMATS, ChannelFormat
from dynamo_fe.parsers.feed import Reading
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.reasoning.formats import REASONING_FORMATS, ReasoningFormat
from dynamo_fe.parsers.registry import reasoning_format_name, tool_format_name
from dynamo_fe.parsers.state import Action, State, close_prose, close_thought, drop_marker
from dynamo_fe.parsers.tool_calls.formats import TOOL_FORMATS, Region, ToolFormat

_NO_TOOLS: Final = ToolFormat({})
_NO_REASONING: Final = ReasoningFormat()


@dataclass(frozen=True, slots=True)
class Live:
    """The markers of one state and what each does. `after_gap` are those in front of which blanks that follow another
    marker are no text.
    """

    markers: Markers
    actions: dict[str, Action]
    after_gap: Markers


@dataclass(frozen=True, slots=True)
class Grammar:
    """Everything that is fixed for a pair of parsers. `own_openers` open a thought; `header` reads a message
    whose first words the prompt holds.
    """

    content: Live
    thought: Live
    openers: frozenset[str]
    thoughts: bool
    calls: bool
    reasoning: ReasoningFormat
    prompt_openers: tuple[str, ...]
    own_openers: Markers
    header: Callable[[State, str], Reading[None]] | None
    bare: Callable[[State], Reading[None]] | None
    starts: str
    call_id: Callable[[str, int, str | None], str]


@lru_cache(maxsize=256)
def grammar(tool_parser: str | None, reasoning_parser: str | None) -> Grammar:
    """The grammar of two configured names, either of which may be None. Raises KeyError for an unknown tool parser."""
    tool_name = None if tool_parser is None else tool_format_name(tool_parser)
    reasoning_name = None if reasoning_parser is None else reasoning_format_name(reasoning_parser)
    tools = _NO_TOOLS if tool_name is None else TOOL_FORMATS.get(tool_name, _NO_TOOLS)
    reasoning = _NO_REASONING if reasoning_name is None else REASONING_FORMATS.get(reasoning_name, _NO_REASONING)
    channels = [CHANNEL_FORMATS[name] for name in (reasoning_name, tool_name) if name and name in CHANNEL_FORMATS]
    return _joined(tools, reasoning, channels, tool_name is not None, reasoning_name is not None)


def _joined(
    tools: ToolFormat, reasoning: ReasoningFormat, channels: list[ChannelFormat], calls: bool, thoughts: bool
) -> Grammar:
    content: dict[str, Action] = dict.fromkeys(tools.orphans, drop_marker)
    close: Action = close_prose if reasoning.prose else close_thought
    content.update(dict.fromkeys(reasoning.closers, close))
    content.update(tools.others)
    content.update(reasoning.others)
    content.update(dict.fromkeys(reasoning.openers, _open_thought(reasoning)))
    thought: dict[str, Action] = dict.fromkeys(reasoning.closers, close)
    for opener, region in tools.regions.items():
        content[opener] = _read_region(region)
        if region.certain and not reasoning.prose:
            thought[opener] = content[opener]
    for channel in channels:
        content.update(channel.actions)
        thought.update(channel.actions)
    loose = {opener for opener, region in tools.regions.items() if not region.certain}
    openers = {*tools.regions, *reasoning.openers, *reasoning.closers} - loose
    return Grammar(
        content=_live(content, tools.gaps),
        thought=_live(thought, tools.gaps),
        openers=frozenset(openers.union(*(channel.actions for channel in channels))),
        thoughts=thoughts,
        calls=calls,
        reasoning=reasoning,
        prompt_openers=_prompt_openers(reasoning, channels),
        own_openers=Markers(reasoning.openers),
        header=next((channel.header for channel in channels if channel.header is not None), None),
        bare=tools.bare,
        starts=tools.starts,
        call_id=tools.call_id if calls else call_ids.uuid_id,
    )


def _live(actions: dict[str, Action], gaps: bool) -> Live:
    return Live(Markers(actions), actions, Markers(() if gaps else actions))


def _prompt_openers(reasoning: ReasoningFormat, channels: list[ChannelFormat]) -> tuple[str, ...]:
    """Ends of a prompt, blanks left out, behind which the answer begins inside a thought."""
    found = [opener for channel in channels for opener in channel.openers]
    if not reasoning.prose:
        found += [opener + title for opener in reasoning.openers for title in ("", reasoning.title)]
    return tuple(opener.rstrip() for opener in found)


def _open_thought(reasoning: ReasoningFormat) -> Action:
    def action(state: State, marker: str) -> Reading[None]:
        if reasoning.title:
            yield from state.feed.accept(reasoning.title)
        state.enter(inside=True)

    return action


def _read_region(region: Region) -> Action:
    def action(state: State, marker: str) -> Reading[None]:
        closers = (region.closer,) if region.closer else ()
        yield from state.region(region.read(state, marker), closers, marker)

    return action
