"""Gemma's calls: `call:NAME{KEY:VALUE,…}`, strings between tokens of their own."""

from __future__ import annotations

import re
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.blocks import another_member
from dynamo_fe.parsers.tool_calls.json_text import copy_string, escaped, quoted
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name
from dynamo_fe.parsers.tool_calls.values import as_value

_BRACE: Final = Markers(["{"])
_COLON: Final = Markers([":"])
_BARE: Final = re.compile(r"[^,{}\[\]]*")
# Nesting that is followed; a generator of each level is alive.
_MOST_DEPTH: Final = 64
_MOST_BARE: Final = 4096


def read_braces(feed: Feed, output: Output, quote: str, ends: Markers) -> Reading[None]:
    """One call whose opener was taken; `quote` stands on either side of a string, `ends` close the call."""
    yield from feed.skip_space()
    if not (yield from feed.accept("call:")):
        yield from feed.need()
        raise Unreadable
    name, _ = yield from feed.short_until(_BRACE, MOST_NAME)
    sink = ArgumentSink(feed, output)
    sink.named(checked_name(name))
    yield from _object(feed, sink, Markers([quote]), 0)
    sink.end()
    yield from feed.accept_spaced(ends)


def _object(feed: Feed, sink: ArgumentSink, quote: Markers, depth: int) -> Reading[None]:
    """The rest of an object whose brace was taken."""
    sink.text("{")
    comma = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == "}":
            break
        key = yield from _key(feed, quote)
        sink.text(f"{comma}{quoted(key)}: ")
        comma = ", "
        yield from _value(feed, sink, quote, depth)
        if not (yield from another_member(feed, "}")):
            break
    feed.at += 1
    sink.text("}")


def _array(feed: Feed, sink: ArgumentSink, quote: Markers, depth: int) -> Reading[None]:
    """The rest of an array whose bracket was taken."""
    sink.text("[")
    comma = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == "]":
            break
        sink.text(comma)
        comma = ", "
        yield from _value(feed, sink, quote, depth)
        if not (yield from another_member(feed, "]")):
            break
    feed.at += 1
    sink.text("]")


def _key(feed: Feed, quote: Markers) -> Reading[str]:
    if (yield from feed.accept_spaced(quote)):
        key, _ = yield from feed.short_until(quote, MOST_NAME)
        yield from feed.skip_space()
        if not (yield from feed.accept(":")):
            yield from feed.need()
            raise Unreadable
        return key
    key, _ = yield from feed.short_until(_COLON, MOST_NAME)
    key = key.strip().strip("\"'")
    if not key or any(char in ",{}[]" for char in key):
        raise Unreadable
    return key


def _value(feed: Feed, sink: ArgumentSink, quote: Markers, depth: int) -> Reading[None]:
    if depth > _MOST_DEPTH:
        raise Unreadable
    yield from feed.skip_space()
    if (yield from feed.accept_spaced(quote)):
        sink.text('"')
        sink.solid()
        if not (yield from feed.until(quote, lambda text: sink.text(escaped(text)))):
            raise Cut
        sink.text('"')
        return
    char = yield from feed.need()
    if char in "{[":
        feed.at += 1
        yield from (_object if char == "{" else _array)(feed, sink, quote, depth + 1)
    elif char == '"':
        feed.at += 1
        sink.text(char)
        sink.solid()
        yield from copy_string(feed, sink.text)
    else:
        sink.text((yield from _bare(feed)))
        sink.solid()


def _bare(feed: Feed) -> Reading[str]:
    """A number, a word of JSON, or a string that lacks its quotes."""
    while True:
        found = _BARE.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end < len(feed.text) or feed.ended or end - feed.at > _MOST_BARE:
            break
        yield
    text = feed.text[feed.at : end].strip()
    if not text or end - feed.at > _MOST_BARE:
        raise Unreadable
    feed.at = end
    return as_value(text) or quoted(text)
