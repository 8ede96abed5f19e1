"""Calls written as Python calls: Llama 4, ToolACE, LFM2, OLMo 3."""

from __future__ import annotations

import re
from typing import Final

from dynamo_fe.parsers.feed import Cut, Feed, Reading, Unreadable
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.tool_calls.argument_sink import ArgumentSink
from dynamo_fe.parsers.tool_calls.json_text import quoted
from dynamo_fe.parsers.tool_calls.names import MOST_NAME
from dynamo_fe.parsers.tool_calls.python_literal import copy_literal

_NAME_RUN: Final = re.compile(r"[\w.\-]*")
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*|\d[\w.\-]*[^\W\d][\w.\-]*")


def read_list(feed: Feed, output: Output, bare: bool = False) -> Reading[None]:
    """`[f(a=1), g()]`, its opening bracket taken. A bare list has no marker of its own: each of its calls is told only
    when it is complete, since what breaks off is text. Raises Unreadable for another text in brackets.
    """
    yield from feed.skip_space()
    before = output.told
    try:
        while True:
            yield from _call(feed, output, bare)
            yield from feed.skip_space()
            char = yield from feed.need()
            if char not in ",]":
                raise Unreadable
            feed.at += 1
            if char == "]":
                return
            yield from feed.skip_space()
    except Cut:
        if output.told == before and bare and not _looks_like_call(feed.taken()):
            raise Unreadable from None
        raise


def read_lines(feed: Feed, output: Output) -> Reading[None]:
    """One call or more, one after the other."""
    while True:
        yield from feed.skip_space()
        char = yield from feed.peek()
        if not _NAME_RUN.fullmatch(char) or not char:
            return
        yield from _call(feed, output, bare=False)


def _call(feed: Feed, output: Output, bare: bool) -> Reading[None]:
    name = yield from _identifier(feed)
    yield from feed.skip_space()
    if (yield from feed.need()) != "(":
        raise Unreadable
    feed.at += 1
    sink = ArgumentSink(feed, output)
    if not bare:
        sink.named(name)
    sink.text("{")
    comma = ""
    while True:
        yield from feed.skip_space()
        if (yield from feed.need()) == ")":
            break
        key = yield from _identifier(feed)
        yield from feed.skip_space()
        if (yield from feed.need()) != "=":
            raise Unreadable
        feed.at += 1
        sink.text(f"{comma}{quoted(key)}: ")
        yield from feed.skip_space()
        if not bare and (yield from feed.need()) in "\"'":
            sink.solid()
        yield from copy_literal(feed, sink.text)
        if not bare:
            sink.solid()
        yield from feed.skip_space()
        char = yield from feed.need()
        if char == ")":
            break
        if char != ",":
            raise Unreadable
        feed.at += 1
        comma = ", "
    feed.at += 1
    sink.text("}")
    sink.named(name)
    sink.end()


def _identifier(feed: Feed) -> Reading[str]:
    while True:
        found = _NAME_RUN.match(feed.text, feed.at)
        end = found.end() if found else feed.at
        if end < len(feed.text) or feed.ended or end - feed.at > MOST_NAME:
            break
        yield
    name = feed.text[feed.at : end]
    if feed.ended and end == len(feed.text):
        raise Cut
    if len(name) > MOST_NAME or not _NAME.fullmatch(name):
        raise Unreadable
    feed.at = end
    return name


def _looks_like_call(text: str) -> bool:
    """Whether a bare list that the answer's end cut off had come to a keyword argument."""
    return re.match(r"\[\s*[\w.\-]+\s*\(\s*[\w.\-]+\s*=", text) is not None
