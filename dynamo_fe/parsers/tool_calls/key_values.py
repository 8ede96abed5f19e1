"""Calls that are a name followed by keys and values in tags: GLM, Hunyuan 3, Laguna."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.json_text import quoted
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name
from dynamo_fe.parsers.tool_calls.tag_values import CONTAINER_OR_TEXT, copy_value_text, of_types
from dynamo_fe.parsers.tool_calls.values import kinds_of, property_of

CALL: Final = "<tool_call>"
CALL_END: Final = "</tool_call>"
_KEY: Final = "<arg_key>"
_AFTER_NAME: Final = Markers([_KEY, CALL_END, "<tool_sep>", CALL])
_NEXT: Final = Markers([_KEY, CALL_END])
_KEY_ENDS: Final = Markers(["</arg_key>"])
_VALUE: Final = Markers(["<arg_value>"])
_VALUE_ENDS: Final = Markers(["</arg_value>"])


def read_key_values(feed: Feed, output: Output, schemas: Mapping[str, Mapping[str, Any]]) -> Reading[None]:
    """One call whose opener was taken. Blanks between its parts are no part of them."""
    text, marker = yield from feed.short_until(_AFTER_NAME, MOST_NAME)
    if marker == CALL:
        raise Unreadable
    name = checked_name(text)
    sink = ArgumentSink(feed, output)
    sink.named(name)
    if marker == "<tool_sep>":
        marker = yield from _next(feed)
    root = schemas.get(name) or {}
    comma = "{"
    while marker == _KEY:
        key = (yield from feed.short_until(_KEY_ENDS, MOST_NAME))[0].strip()
        if not (yield from feed.accept_spaced(_VALUE)):
            yield from feed.skip_space()
            yield from feed.need()
            raise Unreadable
        sink.text(f"{comma}{quoted(key)}: ")
        comma = ", "
        kinds = kinds_of(property_of(root, key, root), root)
        yield from copy_value_text(feed, _VALUE_ENDS, sink, of_types(kinds, CONTAINER_OR_TEXT))
        marker = yield from _next(feed)
    if comma != "{":
        sink.text("}")
    sink.end()


def _next(feed: Feed) -> Reading[str]:
    """What follows a name or a value; nothing at the end of an answer that was not cut."""
    marker = yield from feed.accept_spaced(_NEXT)
    if not marker:
        yield from feed.skip_space()
        if (yield from feed.peek()):
            raise Unreadable
        if feed.cut:
            raise Cut
    return marker
