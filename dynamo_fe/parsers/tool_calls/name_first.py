"""Calls whose name stands before a JSON object of arguments: DeepSeek V3 and V3.1, Kimi K2, Mistral from v11 on."""

from __future__ import annotations

from typing import Final

from dynamo_fe.parsers.feed import Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.blocks import end_of_block
from dynamo_fe.parsers.tool_calls.json_calls import CallShape, read_arguments, read_calls
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name

DEEPSEEK_BLOCK: Final = "<｜tool▁calls▁begin｜>"
DEEPSEEK_BLOCK_END: Final = "<｜tool▁calls▁end｜>"
DEEPSEEK_CALL: Final = "<｜tool▁call▁begin｜>"
DEEPSEEK_CALL_END: Final = "<｜tool▁call▁end｜>"
_DEEPSEEK_SEPARATOR: Final = "<｜tool▁sep｜>"
_DEEPSEEK_HEADER: Final = Markers([_DEEPSEEK_SEPARATOR, DEEPSEEK_CALL, DEEPSEEK_CALL_END, DEEPSEEK_BLOCK_END])
_DEEPSEEK_NEXT: Final = Markers([DEEPSEEK_CALL, DEEPSEEK_BLOCK_END])
_DEEPSEEK_ENDS: Final = Markers([DEEPSEEK_CALL_END])
_FENCE: Final = Markers(["```"])

KIMI_SECTIONS: Final = {
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<|tool_call_section_begin|>": "<|tool_call_section_end|>",
}
KIMI_CALL: Final = "<|tool_call_begin|>"
KIMI_CALL_END: Final = "<|tool_call_end|>"
_KIMI_ARGUMENT: Final = "<|tool_call_argument_begin|>"
_KIMI_HEADER: Final = Markers([_KIMI_ARGUMENT, KIMI_CALL_END, KIMI_CALL, *KIMI_SECTIONS.values()])
_KIMI_NEXT: Final = Markers([KIMI_CALL, *KIMI_SECTIONS.values()])
_KIMI_ENDS: Final = Markers([KIMI_CALL_END])

MISTRAL_CALLS: Final = "[TOOL_CALLS]"
MISTRAL_END: Final = "[/TOOL_CALLS]"
_MISTRAL_HEADER: Final = Markers(["{", "[ARGS]", "[CALL_ID]"])
_MISTRAL_AFTER_ID: Final = Markers(["{", "[ARGS]"])
_MISTRAL_ENDS: Final = Markers([MISTRAL_END])
_MISTRAL_SHAPE: Final = CallShape(id_key="id")


def read_deepseek(feed: Feed, output: Output, marker: str) -> Reading[None]:
    """A block, or one call without the block around it."""
    if marker == DEEPSEEK_CALL:
        yield from _deepseek_call(feed, output)
        return
    before = output.told
    while (following := (yield from feed.accept_spaced(_DEEPSEEK_NEXT))) == DEEPSEEK_CALL:
        yield from _deepseek_call(feed, output)
    if not following:
        yield from end_of_block(feed, output.told == before)


def _deepseek_call(feed: Feed, output: Output) -> Reading[None]:
    """V3 writes `function`, the separator, the name and a fenced object; V3.1 name, separator and object."""
    name, marker = yield from feed.short_until(_DEEPSEEK_HEADER, MOST_NAME)
    if marker != _DEEPSEEK_SEPARATOR:
        raise Unreadable
    yield from feed.skip_space()
    fenced = (yield from feed.need()) != "{"
    if fenced:
        name, _ = yield from feed.short_until(_FENCE, MOST_NAME)
        yield from feed.accept("json")
    yield from read_arguments(feed, output, checked_name(name))
    if fenced:
        yield from feed.accept_spaced(_FENCE)
    yield from feed.accept_spaced(_DEEPSEEK_ENDS)
    feed.keep()


def read_kimi(feed: Feed, output: Output, marker: str) -> Reading[None]:
    """A section, or one call without the section around it."""
    if marker == KIMI_CALL:
        yield from _kimi_call(feed, output)
        return
    before = output.told
    while (following := (yield from feed.accept_spaced(_KIMI_NEXT))) == KIMI_CALL:
        yield from _kimi_call(feed, output)
    if not following:
        yield from end_of_block(feed, output.told == before)


def _kimi_call(feed: Feed, output: Output) -> Reading[None]:
    """The id is `functions.NAME:INDEX`, which the next turn's template wants back."""
    header, marker = yield from feed.short_until(_KIMI_HEADER, MOST_NAME)
    if marker != _KIMI_ARGUMENT:
        raise Unreadable
    call_id = header.strip()
    name = call_id.partition("functions.")[2] or call_id
    yield from read_arguments(feed, output, checked_name(name.rpartition(":")[0] or name), call_id)
    yield from feed.accept_spaced(_KIMI_ENDS)
    feed.keep()


def read_mistral(feed: Feed, output: Output, marker: str) -> Reading[None]:
    """JSON objects up to tokenizer v7; from v11 on a name, perhaps an id, and arguments."""
    yield from feed.skip_space()
    if (yield from feed.need()) in "[{":
        yield from read_calls(feed, output, _MISTRAL_SHAPE)
    else:
        name, mark = yield from feed.short_until(_MISTRAL_HEADER, MOST_NAME)
        call_id = None
        if mark == "[CALL_ID]":
            call_id, mark = yield from feed.short_until(_MISTRAL_AFTER_ID, MOST_NAME)
        if mark == "{":
            feed.at -= 1
        yield from read_arguments(feed, output, checked_name(name), call_id)
    yield from feed.accept_spaced(_MISTRAL_ENDS)
