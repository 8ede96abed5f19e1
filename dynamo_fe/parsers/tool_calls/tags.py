"""Calls in tags, a tag for each parameter: Qwen's XML, MiniMax M2, DSML, Step-3, Seed, Muse and XTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.blocks import end_of_block
from dynamo_fe.parsers.tool_calls.json_text import copy_value, drop, quoted
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name
from dynamo_fe.parsers.tool_calls.tag_values import GUESSED, JSON_OR_TEXT, TEXT, ValueKind, copy_value_text, of_types
from dynamo_fe.parsers.tool_calls.values import kinds_of, property_of

Schemas = Mapping[str, Mapping[str, Any]]

# Attributes of an opening tag, and of Qwen's, which has its name behind a bare equals sign.
_ATTRIBUTE: Final = re.compile(r"""([\w.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_MOST_TAG: Final = 2 * MOST_NAME


@dataclass(frozen=True, slots=True)
class Tags:
    """One spelling. `call` and `value` open a call and a parameter up to the name or the attributes, which end with
    `tag_end`. `typing` says where a value's type comes from: the request's schema, an attribute `string` or `type`, or
    the value itself. `own_lines`: one line break at either end of a value belongs to the format. `object_open`: what
    opens a JSON object that may stand in place of parameters, "" where nothing does; None where there is none. `names`:
    the attributes that may hold the function's name.
    """

    blocks: tuple[tuple[str, str], ...]
    call: str
    call_end: str
    value: str
    value_end: str
    tag_end: str = ">"
    typing: Literal["schema", "string", "type", "value"] = "schema"
    own_lines: bool = False
    object_open: str | None = None
    names: tuple[str, ...] = ("name",)
    in_call: Markers = field(init=False)
    value_ends: Markers = field(init=False)
    tag_ends: Markers = field(init=False)
    openers: Markers = field(init=False)

    def __post_init__(self) -> None:
        ends = [end for _, end in self.blocks]
        inside = [self.value, self.call_end, *ends, *([self.object_open] if self.object_open else [])]
        values = [self.value_end, *(["\n" + self.value_end] if self.own_lines else [])]
        object.__setattr__(self, "in_call", Markers(inside))
        object.__setattr__(self, "value_ends", Markers(values))
        object.__setattr__(self, "tag_ends", Markers([self.tag_end]))
        object.__setattr__(self, "openers", Markers([self.call, *ends]))


def read_tags(feed: Feed, output: Output, tags: Tags, schemas: Schemas, in_block: bool) -> Reading[None]:
    """The rest of a block whose opening marker was taken, or of one call without a block."""
    if not in_block:
        yield from _call(feed, output, tags, schemas)
        return
    before = output.told
    while True:
        opener = yield from feed.accept_spaced(tags.openers)
        if opener != tags.call:
            break
        if (yield from _call(feed, output, tags, schemas)):
            return
    if not opener:
        yield from end_of_block(feed, output.told == before)


def _call(feed: Feed, output: Output, tags: Tags, schemas: Schemas) -> Reading[bool]:
    """One call whose opener was taken; True when the block ended with it."""
    attributes = yield from _attributes(feed, tags)
    name = checked_name(next((attributes[key] for key in tags.names if key in attributes), ""))
    sink = ArgumentSink(feed, output)
    sink.named(name)
    marker = yield from feed.accept_spaced(tags.in_call)
    if not marker or marker == tags.object_open:
        marker = yield from _object(feed, tags, sink)
    elif marker == tags.value:
        sink.text("{")
        marker = yield from _values(feed, tags, sink, schemas.get(name))
        sink.text("}")
    sink.end()
    return marker != tags.call_end


def _values(feed: Feed, tags: Tags, sink: ArgumentSink, schema: Mapping[str, Any] | None) -> Reading[str]:
    """The parameters from behind the first one's opener; returns the marker behind the last."""
    comma = ""
    marker = tags.value
    while marker == tags.value:
        attributes = yield from _attributes(feed, tags)
        key = next((attributes[name] for name in ("name", "key") if name in attributes), None)
        if key is None:
            raise Unreadable
        sink.text(f"{comma}{quoted(key)}: ")
        comma = ", "
        if tags.own_lines:
            yield from feed.accept("\n")
        yield from copy_value_text(feed, tags.value_ends, sink, _kind(tags, attributes, key, schema))
        marker = yield from feed.until(tags.in_call, drop)
    if not marker and feed.cut:
        raise Cut
    return marker


def _object(feed: Feed, tags: Tags, sink: ArgumentSink) -> Reading[str]:
    """A JSON object in place of parameters, up to the call's end."""
    if tags.object_open:
        yield from _attributes(feed, tags)
    yield from feed.skip_space()
    if (yield from feed.need()) != "{" or tags.object_open is None:
        raise Unreadable
    yield from copy_value(feed, sink.text, sink.solid)
    return (yield from feed.until(tags.in_call, drop))


def _attributes(feed: Feed, tags: Tags) -> Reading[dict[str, str]]:
    """What an opening tag says, up to its end. Qwen's `=NAME` is an attribute `name`."""
    text, _ = yield from feed.short_until(tags.tag_ends, _MOST_TAG)
    if tags.call.endswith("="):
        return {"name": text.strip().strip("\"'")}
    return {found[1]: found[2] if found[2] is not None else found[3] for found in _ATTRIBUTE.finditer(text)}


def _kind(tags: Tags, attributes: Mapping[str, str], key: str, schema: Mapping[str, Any] | None) -> ValueKind:
    if tags.typing == "value":
        return GUESSED
    if tags.typing == "schema":
        root = schema or {}
        return of_types(kinds_of(property_of(root, key, root), root))
    declared = attributes.get(tags.typing)
    return TEXT if declared in (None, "true", "string") else JSON_OR_TEXT
