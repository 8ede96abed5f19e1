"""Calls that begin without a marker of their own."""

from __future__ import annotations

from typing import Final

from dynamo_fe.parsers.feed import Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.state import State
from dynamo_fe.parsers.tool_calls.json_calls import NAMED, read_arguments, read_bare, read_calls
from dynamo_fe.parsers.tool_calls.pythonic import read_list

_FENCES: Final = Markers(["```json\n", "```\n"])
_FENCE_END: Final = Markers(["```"])


def read_json(state: State) -> Reading[None]:
    """Objects or an array of them, each with a name and arguments."""
    yield from read_bare(state.feed, state.output, state.schemas)


def read_fenced_json(state: State) -> Reading[None]:
    """The same, perhaps in a code fence."""
    feed = state.feed
    fenced = yield from feed.accept_spaced(_FENCES)
    yield from feed.skip_space()
    if (yield from feed.need()) != "[":
        raise Unreadable
    yield from read_bare(feed, state.output, state.schemas)
    if fenced:
        yield from feed.accept_spaced(_FENCE_END)


def read_functools(state: State, marker: str) -> Reading[None]:
    """Phi-4's array, which makes a call of the word before it."""
    yield from state.feed.skip_space()
    if (yield from state.feed.peek()) != "[":
        raise Unreadable
    yield from read_calls(state.feed, state.output, NAMED)


def read_list_or_json(feed: Feed, output: Output) -> Reading[None]:
    """A list of Python calls or of JSON objects."""
    if (yield from feed.need()) != "[":
        yield from read_calls(feed, output, NAMED)
        return
    size = 1
    while True:
        ahead = feed.text[feed.at + size : feed.at + size + 1]
        if ahead and ahead not in " \t\r\n" or feed.ended:
            break
        if ahead:
            size += 1
        else:
            yield
    if ahead == "{":
        yield from read_calls(feed, output, NAMED)
        return
    feed.at += 1
    yield from read_list(feed, output)


def read_guided(state: State, named: str | None) -> Reading[None]:
    """What guidance makes of required calls: an array of `{name, parameters}` or one; of a named call its arguments."""
    feed = state.feed
    if named is not None and (yield from feed.need()) == "{":
        yield from read_arguments(feed, state.output, named)
    else:
        yield from read_bare(feed, state.output, state.schemas)
