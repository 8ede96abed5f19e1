"""MiniMax M3: every tag behind a namespace token, a tag for each member of an object, `item` tags for an array."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.blocks import end_of_block
from dynamo_fe.parsers.tool_calls.json_text import escaped, quoted
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name
from dynamo_fe.parsers.tool_calls.values import items_of, kinds_of, property_of, typed

_SPACE: Final = "]<]minimax[>["
BLOCK: Final = _SPACE + "<tool_call>"
BLOCK_END: Final = _SPACE + "</tool_call>"
CALL: Final = _SPACE + "<invoke"
CALL_END: Final = _SPACE + "</invoke>"
_CALLS: Final = Markers([CALL, BLOCK_END])
_TAG: Final = Markers([_SPACE])
_TAG_END: Final = Markers([">"])
_ITEM: Final = "<item"
_NAME: Final = re.compile(r"""\s*name\s*=\s*(?:"([^"]*)"|'([^']*)')\s*""")
# Nesting that is followed; a generator of each level is alive.
_MOST_DEPTH: Final = 64

Schema = Mapping[str, Any]


def read_nested(feed: Feed, output: Output, schemas: Mapping[str, Schema], in_block: bool) -> Reading[None]:
    """The rest of a block whose opener was taken, or of one call without a block."""
    if not in_block:
        yield from _call(feed, output, schemas)
        return
    before = output.told
    while (following := (yield from feed.accept_spaced(_CALLS))) == CALL:
        if (yield from _call(feed, output, schemas)):
            return
    if not following:
        yield from end_of_block(feed, output.told == before)


def _call(feed: Feed, output: Output, schemas: Mapping[str, Schema]) -> Reading[bool]:
    """One call; True when the block ended with it."""
    text, _ = yield from feed.short_until(_TAG_END, MOST_NAME)
    found = _NAME.fullmatch(text)
    if found is None:
        raise Unreadable
    name = checked_name(found[1] if found[1] is not None else found[2])
    root = schemas.get(name) or {}
    sink = ArgumentSink(feed, output)
    sink.named(name)
    comma = "{"
    while True:
        tag = yield from _tag(feed)
        if tag in ("</invoke", "</tool_call") or not tag and comma != "{" and not feed.cut:
            break
        if not tag:
            raise Cut
        key = _opened(tag)
        sink.text(f"{comma}{quoted(key)}: ")
        comma = ", "
        yield from _value(feed, sink, property_of(root, key, root), root, tag, 0)
    if comma != "{":
        sink.text("}")
    sink.end()
    return tag == "</tool_call"


def _tag(feed: Feed) -> Reading[str]:
    """The next tag without its last character, blanks before it left out; "" at the end of the answer."""
    if not (yield from feed.accept_spaced(_TAG)):
        yield from feed.skip_space()
        if (yield from feed.peek()):
            raise Unreadable
        return ""
    return (yield from _rest_of_tag(feed))


def _opened(tag: str) -> str:
    if len(tag) < 2 or tag[0] != "<" or tag[1] in "/ ":
        raise Unreadable
    return tag[1:]


def _value(feed: Feed, sink: ArgumentSink, schema: Any, root: Schema, opener: str, depth: int) -> Reading[None]:
    """The value inside a tag, with the tag's closer."""
    if depth > _MOST_DEPTH:
        raise Unreadable
    closer = "</" + opener[1:]
    kinds = kinds_of(schema, root)
    size = yield from feed.space_before()
    blanks = feed.text[feed.at : feed.at + size]
    if (yield from feed.accept_spaced(_TAG)):
        tag = yield from _rest_of_tag(feed)
        if tag != closer:
            yield from _members(feed, sink, schema, root, tag, closer, depth)
            return
        sink.text(_leaf(blanks, kinds))
        sink.solid()
    elif not kinds or kinds == {"string"}:
        yield from _text(feed, sink, closer)
    else:
        parts: list[str] = []
        if not (yield from feed.until(_TAG, parts.append)):
            raise Cut
        if (yield from _rest_of_tag(feed)) != closer:
            raise Unreadable
        sink.text(_leaf("".join(parts), kinds))
        sink.solid()


def _text(feed: Feed, sink: ArgumentSink, closer: str) -> Reading[None]:
    sink.text('"')
    sink.solid()
    if not (yield from feed.until(_TAG, lambda text: sink.text(escaped(text)))):
        raise Cut
    if (yield from _rest_of_tag(feed)) != closer:
        raise Unreadable
    sink.text('"')


def _members(
    feed: Feed, sink: ArgumentSink, schema: Any, root: Schema, tag: str, closer: str, depth: int
) -> Reading[None]:
    """The members of an object or an array from behind the first one's opener, with the closer around them."""
    in_array = tag == _ITEM and "object" not in kinds_of(schema, root)
    items = items_of(schema, root) if in_array else None
    comma = "[" if in_array else "{"
    while tag != closer:
        key = _opened(tag)
        if in_array and tag != _ITEM:
            raise Unreadable
        sink.text(comma if in_array else f"{comma}{quoted(key)}: ")
        comma = ", "
        yield from _value(feed, sink, items if in_array else property_of(schema, key, root), root, tag, depth + 1)
        tag = yield from _tag(feed)
        if not tag:
            raise Cut
    sink.text("]" if in_array else "}")


def _rest_of_tag(feed: Feed) -> Reading[str]:
    return (yield from feed.short_until(_TAG_END, MOST_NAME))[0]


def _leaf(text: str, kinds: frozenset[str]) -> str:
    """A value without tags in it; an empty one may be an empty array or object."""
    if not text.strip() and "string" not in kinds:
        for kind, empty in (("array", "[]"), ("object", "{}")):
            if kind in kinds:
                return empty
    return typed(text, kinds)
