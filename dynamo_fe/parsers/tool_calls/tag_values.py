"""The value of a parameter in a format of tags: told as it comes where it is a string, else when its closer came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.json_text import escaped
from dynamo_fe.parsers.tool_calls.values import json_or_text, typed


@dataclass(frozen=True, slots=True)
class ValueKind:
    """How a value's text becomes JSON: by `convert`, or as a string as it stands where that is None or where the text
    does not begin with one of `starts`, if any are named.
    """

    convert: Callable[[str], str] | None = None
    starts: str = ""


TEXT: Final = ValueKind()
JSON_OR_TEXT: Final = ValueKind(json_or_text)
# JSON if it is JSON
GUESSED: Final = ValueKind(json_or_text, '{["-0123456789tfn')
# JSON if it is an object or an array
CONTAINER_OR_TEXT: Final = ValueKind(json_or_text, "{[")


def of_types(kinds: frozenset[str], undeclared: ValueKind = TEXT) -> ValueKind:
    """The kind of a value whose schema allows these JSON types."""
    if not kinds:
        return undeclared
    return TEXT if kinds == {"string"} else ValueKind(lambda text: typed(text, kinds))


def copy_value_text(feed: Feed, ends: Markers, sink: ArgumentSink, kind: ValueKind) -> Reading[str]:
    """Hands on the value as JSON; returns the marker that ended it, taken. Raises Cut where there is none."""
    convert = kind.convert
    if convert is not None and kind.starts:
        size = yield from feed.space_before()
        if feed.text[feed.at + size : feed.at + size + 1] not in kind.starts:
            convert = None
    if convert is None:
        return (yield from _copy_text(feed, ends, sink))
    parts: list[str] = []
    marker = yield from feed.until(ends, parts.append)
    if not marker:
        raise Cut
    sink.text(convert("".join(parts)))
    sink.solid()
    return marker


def _copy_text(feed: Feed, ends: Markers, sink: ArgumentSink) -> Reading[str]:
    sink.text('"')
    sink.solid()
    marker = yield from feed.until(ends, lambda text: sink.text(escaped(text)))
    if not marker:
        raise Cut
    sink.text('"')
    return marker
