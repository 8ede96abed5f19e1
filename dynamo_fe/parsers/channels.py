"""Formats that write an answer as messages with a recipient or a kind each: harmony, Inkling and Muse.

Their tool parser and their reasoning parser are one grammar, of which either half may be asked for alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dynamo_fe.parsers.feed import Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.state import Action, State, close_thought, drop_marker
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.json_calls import CallShape, read_arguments, read_calls
from dynamo_fe.parsers.tool_calls.names import checked_name
from dynamo_fe.parsers.tool_calls.tags import Tags, read_tags

_MOST_HEADER: Final = 512


@dataclass(frozen=True, slots=True)
class ChannelFormat:
    """`openers` are what a prompt ends with that left a thought open; `header` reads a message whose first words stand
    in the prompt.
    """

    actions: Mapping[str, Action]
    openers: tuple[str, ...]
    header: Callable[[State, str], Reading[None]] | None = None


def _header(state: State, marker: str, ends: Markers) -> Reading[tuple[str | None, str]]:
    """What stands between a message's opener and its body, and all that was taken with it. None where no body follows;
    the text was shown then.
    """
    feed = state.feed
    feed.keep(len(marker))
    try:
        header, end = yield from feed.short_until(ends, _MOST_HEADER)
    except Unreadable:
        header, end = "", ""
    taken = feed.taken()
    feed.forget()
    if end == "<|message|>":
        return header, taken
    feed.at -= len(end)
    state.text(taken[: len(taken) - len(end)])
    return None, ""


# ---- harmony

_CHANNEL: Final = "<|channel|>"
_HARMONY_ENDS: Final = ("<|call|>", "<|end|>", "<|return|>")
_HARMONY_HEADER: Final = Markers(["<|message|>", "<|start|>", *_HARMONY_ENDS])
_HARMONY_END_MARKERS: Final = Markers(_HARMONY_ENDS)
_CHANNEL_NAME: Final = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT: Final = re.compile(r"\bto=([^\s<]+)")


def _harmony_message(state: State, marker: str) -> Reading[None]:
    header, taken = yield from _header(state, marker, _HARMONY_HEADER)
    if header is None:
        return
    channel, recipient = _CHANNEL_NAME.search(marker + header), _RECIPIENT.search(header)
    if recipient is not None and recipient[1].startswith("functions."):
        yield from _harmony_call(state, recipient[1].removeprefix("functions."), taken)
    else:
        state.enter(inside=recipient is not None or (channel is not None and channel[1] == "analysis"))


def _harmony_call(state: State, name: str, taken: str) -> Reading[None]:
    state.enter(inside=False)
    if not state.calls:
        state.text(taken)
        yield from state.raw(_HARMONY_ENDS)
        return
    yield from state.region(_harmony_body(state, name), (), "")


def _harmony_body(state: State, name: str) -> Reading[None]:
    feed = state.feed
    if (yield from feed.accept_spaced(_HARMONY_END_MARKERS)):
        sink = ArgumentSink(feed, state.output)
        sink.named(checked_name(name))
        sink.end()
        return
    yield from read_arguments(feed, state.output, checked_name(name))
    yield from feed.accept_spaced(_HARMONY_END_MARKERS)


# ---- Inkling

_INVOKE: Final = "<|content_invoke_tool_json|>"
_THINKING: Final = "<|content_thinking|>"
_TEXT: Final = "<|content_text|>"
_END_MESSAGE: Final = "<|end_message|>"
_INKLING_KINDS: Final = Markers([_INVOKE, _THINKING, _TEXT, _END_MESSAGE, "<|message_model|>"])
_INKLING_ENDS: Final = Markers([_END_MESSAGE])
_INKLING_SHAPE: Final = CallShape(arguments=frozenset({"args", "arguments", "parameters"}))


def _inkling_message(state: State, marker: str) -> Reading[None]:
    feed = state.feed
    feed.keep(len(marker))
    kind = marker
    if marker == "<|message_model|>":
        try:
            _, kind = yield from feed.short_until(_INKLING_KINDS, _MOST_HEADER)
        except Unreadable:
            kind = ""
    taken = feed.taken()
    feed.forget()
    if kind in (_THINKING, _TEXT):
        state.enter(inside=kind == _THINKING)
    elif kind != _INVOKE:
        feed.at -= len(kind)
        state.text(taken[: len(taken) - len(kind)])
    elif not state.calls:
        state.text(taken)
        yield from state.raw((_END_MESSAGE,))
    else:
        yield from state.region(_inkling_call(state), (_END_MESSAGE,), taken)


def _inkling_call(state: State) -> Reading[None]:
    yield from read_calls(state.feed, state.output, _INKLING_SHAPE)
    yield from state.feed.accept_spaced(_INKLING_ENDS)


# ---- Muse

_MUSE_ENDS: Final = ("<|eom|>", "<|eot|>")
_MUSE_HEADER: Final = Markers(["<|message|>", "<|start|>", *_MUSE_ENDS])
_MUSE_END_MARKERS: Final = Markers(_MUSE_ENDS)
_MUSE_TAGS: Final = Tags(
    blocks=(("<atem:function_calls>", "</atem:function_calls>"),),
    call="<atem:invoke",
    call_end="</atem:invoke>",
    value="<atem:parameter",
    value_end="</atem:parameter>",
    typing="value",
)
_MUSE_BLOCK: Final = Markers(["<atem:function_calls>"])


def _muse_message(state: State, marker: str) -> Reading[None]:
    header, taken = yield from _header(state, marker, _MUSE_HEADER)
    if header is None:
        return
    recipient = _RECIPIENT.search(header)
    if recipient is None or recipient[1] in ("user", "self"):
        state.enter(inside=recipient is not None and recipient[1] == "self")
    elif not state.calls:
        state.text(taken)
        yield from state.raw(_MUSE_ENDS)
    else:
        yield from state.region(_muse_calls(state), _MUSE_ENDS, taken)


def _muse_block(state: State, marker: str) -> Reading[None]:
    """Calls that no message was announced for."""
    if state.calls:
        reading = read_tags(state.feed, state.output, _MUSE_TAGS, state.schemas, in_block=True)
        yield from state.region(reading, ("</atem:function_calls>",), marker)
    else:
        state.text(marker)


def _muse_calls(state: State) -> Reading[None]:
    feed = state.feed
    if not (yield from feed.accept_spaced(_MUSE_BLOCK)):
        yield from feed.skip_space()
        yield from feed.need()
        raise Unreadable
    yield from read_tags(feed, state.output, _MUSE_TAGS, state.schemas, in_block=True)
    yield from feed.accept_spaced(_MUSE_END_MARKERS)


CHANNEL_FORMATS: Final[Mapping[str, ChannelFormat]] = {
    "gpt_oss": ChannelFormat(
        {
            "<|start|>": _harmony_message,
            _CHANNEL: _harmony_message,
            **dict.fromkeys(_HARMONY_ENDS, close_thought),
        },
        ("<|channel|>analysis<|message|>",),
        _harmony_message,
    ),
    "inkling": ChannelFormat(
        {
            **dict.fromkeys(("<|message_model|>", _INVOKE, _THINKING, _TEXT), _inkling_message),
            _END_MESSAGE: close_thought,
            "<|content_model_end_sampling|>": drop_marker,
        },
        (_THINKING,),
    ),
    "muse_glimmer": ChannelFormat(
        {"<|start|>": _muse_message, "<atem:function_calls>": _muse_block, **dict.fromkeys(_MUSE_ENDS, close_thought)},
        (" to=self<|message|>",),
        _muse_message,
    ),
}
