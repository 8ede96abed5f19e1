"""Calls that are JSON objects with a name and arguments: hermes, Llama 3, Mistral up to v7, Jamba, Granite."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.json_text import copy_arguments, copy_value, drop, is_object, quoted, read_string
from dynamo_fe.parsers.tool_calls.names import MOST_NAME, checked_name

_MOST_KEY: Final = 256
_SEPARATORS: Final = ",;"


@dataclass(frozen=True, slots=True)
class CallShape:
    """The keys of a call's object. `keyed`: the only key is the name and its value the arguments. `id_key`: where the
    model writes an id that is to be kept.
    """

    names: frozenset[str] = frozenset({"name"})
    arguments: frozenset[str] = frozenset({"arguments", "parameters"})
    id_key: str | None = None
    keyed: bool = False


NAMED: Final = CallShape()
# Other keys with which a call's object may begin.
_BEFORE_NAME: Final = frozenset({"type", "id", "function"})


def read_calls(feed: Feed, output: Output, shape: CallShape) -> Reading[None]:
    """One object, several, or an array of them. Raises Unreadable for anything else."""
    yield from feed.skip_space()
    if (yield from feed.need()) == "[":
        yield from _read_array(feed, output, shape, None)
        return
    yield from _read_call(feed, output, shape, None)
    while (yield from _another(feed)):
        yield from _read_call(feed, output, shape, None)


def read_bare(feed: Feed, output: Output, known: Container[str]) -> Reading[None]:
    """The same without a marker in front, where JSON that is no call is text. An object with a name and no arguments is
    a call only if the name is `known`.
    """
    before = output.told
    try:
        if (yield from feed.need()) == "[":
            yield from _read_array(feed, output, NAMED, known)
            return
        while True:
            yield from _read_call(feed, output, NAMED, known)
            if not (yield from _another(feed)):
                return
    except Cut:
        if output.told == before:
            raise Unreadable from None
        raise


def read_arguments(feed: Feed, output: Output, name: str, call_id: str | None = None) -> Reading[None]:
    """A call whose name came before: its arguments, an object."""
    sink = ArgumentSink(feed, output)
    sink.named(name, call_id)
    yield from feed.skip_space()
    if (yield from feed.need()) != "{":
        raise Unreadable
    yield from copy_arguments(feed, sink.text, sink.solid)
    sink.end()


def _another(feed: Feed) -> Reading[bool]:
    """Whether another object follows, blanks and one separator taken."""
    size = yield from feed.space_before()
    while True:
        ahead = feed.text[feed.at + size : feed.at + size + 1]
        if ahead or feed.ended:
            break
        yield
    if not ahead or ahead not in _SEPARATORS + "{":
        return False
    if ahead == "{":
        feed.at += size
        return True
    return (yield from _object_after(feed, size + 1))


def _object_after(feed: Feed, size: int) -> Reading[bool]:
    """Whether blanks and an object follow `size` characters on; takes them if so."""
    while True:
        rest = feed.text[feed.at + size :][:_MOST_KEY]
        found = rest.lstrip(" \t\r\n")
        if found or feed.ended or len(rest) == _MOST_KEY:
            break
        yield
    if not found.startswith("{"):
        return False
    feed.at += size + len(rest) - len(found)
    return True


def _read_array(feed: Feed, output: Output, shape: CallShape, known: Container[str] | None) -> Reading[None]:
    feed.at += 1
    yield from feed.skip_space()
    if (yield from feed.need()) == "]" and known is None:
        feed.at += 1
        return
    while True:
        yield from _read_call(feed, output, shape, known)
        yield from feed.skip_space()
        char = yield from feed.need()
        if char == ",":
            feed.at += 1
            yield from feed.skip_space()
            if (yield from feed.need()) != "]":
                continue
        elif char != "]":
            raise Unreadable
        feed.at += 1
        feed.keep()
        return


def _read_call(
    feed: Feed, output: Output, shape: CallShape, known: Container[str] | None, nested: bool = False
) -> Reading[None]:
    if (yield from feed.need()) != "{":
        raise Unreadable
    feed.at += 1
    call = _Call(feed, output, shape, known, nested)
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == "}":
            break
        key = yield from read_string(feed, _MOST_KEY)
        yield from feed.skip_space()
        if (yield from feed.need()) != ":":
            raise Unreadable
        feed.at += 1
        yield from feed.skip_space()
        yield from call.member(key)
        yield from feed.skip_space()
        char = yield from feed.need()
        if char == "}":
            break
        if char != ",":
            raise Unreadable
        feed.at += 1
    feed.at += 1
    call.close()
    feed.keep()


class _Call:
    """The members of one call's object, in whatever order."""

    __slots__ = (
        "_complete",
        "_feed",
        "_has_arguments",
        "_id",
        "_known",
        "_name",
        "_nested",
        "_output",
        "_shape",
        "_sink",
    )

    def __init__(
        self, feed: Feed, output: Output, shape: CallShape, known: Container[str] | None, nested: bool
    ) -> None:
        self._feed = feed
        self._nested = nested
        self._output = output
        self._shape = shape
        self._known = known
        self._sink = ArgumentSink(feed, output)
        self._name: str | None = None
        self._id: str | None = None
        self._has_arguments = False
        self._complete = False

    def member(self, key: str) -> Reading[None]:
        """Reads the value of a key."""
        shape = self._shape
        if shape.keyed and self._name is None:
            self._name = checked_name(key)
            self._sink.named(self._name)
            yield from self._read_arguments()
        elif key in shape.names and self._name is None:
            yield from self._read_name()
        elif key in shape.arguments and not self._has_arguments:
            yield from self._read_arguments()
        elif key == shape.id_key and (yield from self._feed.need()) == '"':
            self._id = yield from read_string(self._feed, MOST_NAME)
        elif self._known is not None and not (self._name or self._has_arguments or key in _BEFORE_NAME):
            raise Unreadable
        else:
            yield from self._other(key)

    def close(self) -> None:
        """The object's end: what it lacks makes it no call."""
        if self._name is None or (
            self._known is not None and not self._has_arguments and self._name not in self._known
        ):
            raise Unreadable
        self._finish()

    def _read_name(self) -> Reading[None]:
        self._name = checked_name((yield from read_string(self._feed, MOST_NAME)))
        if self._known is None or self._has_arguments:
            self._sink.named(self._name, self._id)
        if self._has_arguments:
            self._finish()

    def _read_arguments(self) -> Reading[None]:
        self._has_arguments = True
        feed, sink = self._feed, self._sink
        char = yield from feed.need()
        if char == "{":
            if self._name is not None:
                sink.named(self._name, self._id)
            yield from copy_arguments(feed, sink.text, sink.solid)
        elif char == '"':
            text = yield from read_string(feed)
            sink.text(unwrapped(text))
        elif char == "n":
            yield from copy_value(feed, drop, lambda: None)
        else:
            raise Unreadable
        if self._name is not None:
            sink.named(self._name, self._id)
            self._finish()

    def _other(self, key: str) -> Reading[None]:
        """A member that says nothing, or the object inside `function` in the way of the API's own messages."""
        char = yield from self._feed.need()
        if key == "function" and self._name is None and char == '"':
            yield from self._read_name()
        elif key == "function" and self._name is None and char == "{" and not self._nested:
            yield from _read_call(self._feed, self._output, self._shape, self._known, nested=True)
            self._name, self._has_arguments, self._complete = key, True, True
        else:
            yield from copy_value(self._feed, drop, lambda: None)

    def _finish(self) -> None:
        if not self._complete:
            self._complete = True
            if self._name is not None:
                self._sink.named(self._name, self._id)
            self._sink.end()


def unwrapped(text: str) -> str:
    """Arguments that came as a JSON string, as an object; as they are where they hold none."""
    if not text.strip():
        return "{}"
    try:
        text.encode()
    except UnicodeEncodeError:
        # half a surrogate pair: only an escape can say it
        return json.dumps(text)
    return text.strip() if is_object(text) else quoted(text)
