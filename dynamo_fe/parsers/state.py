"""What readers of markers share: where the text goes, and whether a thought is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dynamo_fe.parsers.feed import NO_MARKERS, Feed, Reading, Unreadable
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output


class State:
    """`inside`: a thought is open. `thoughts` and `calls` say which of the two are told apart from content; `schemas`
    are the request's functions. `fresh`: nothing was shown since the answer or the content behind a thought began.
    `openers`: what ends a region that cannot be read, beside its closer. `gap`: blanks in front of the marker that was
    just taken, which are text if it turns out to be none.
    """

    __slots__ = ("calls", "feed", "fresh", "gap", "inside", "openers", "output", "schemas", "structural", "thoughts")

    def __init__(self, output: Output, schemas: Mapping[str, Mapping[str, Any]], thoughts: bool, calls: bool) -> None:
        self.feed = Feed()
        self.output = output
        self.schemas = schemas
        self.thoughts = thoughts
        self.calls = calls
        self.inside = False
        self.fresh = True
        self.structural = False
        self.gap = ""
        self.openers: frozenset[str] = frozenset()

    def text(self, text: str) -> None:
        """Shows text where it belongs."""
        if self.inside:
            self.output.thought(text)
        elif text:
            self.output.content(text)
            self.fresh = self.structural = False

    def enter(self, inside: bool, structural: bool = True) -> None:
        """A message or a thought begins or ends here; `structural` if blanks in front of a call are no text then."""
        self.inside = inside and self.thoughts
        self.fresh, self.structural = True, structural

    def region(self, reading: Reading[None], closers: tuple[str, ...], opener: str) -> Reading[None]:
        """Reads calls whose `opener` was taken. What cannot be read is text, up to its closer; the closer is none when
        calls of the region were told.
        """
        feed, told = self.feed, self.output.told
        opener, self.gap = self.gap + opener, ""
        feed.closers = Markers(closers) if closers else NO_MARKERS
        feed.keep()
        try:
            yield from reading
        except Unreadable:
            taken = feed.taken()
            feed.forget()
            whole = self.output.told == told
            if whole and not taken.strip() and (yield from feed.marker_after(Markers(self.openers), 0)):
                # the opener of the region inside is the one that counts
                return
            self.text(opener + taken if whole else taken)
            yield from self.raw(closers, self.openers, whole)
        else:
            feed.forget()
            self.structural = True

    def raw(
        self, closers: tuple[str, ...], openers: frozenset[str] = frozenset(), with_closer: bool = True
    ) -> Reading[None]:
        """Shows what comes as it is, to the end of the next closer or to the next opener."""
        if not closers:
            return
        marker = yield from self.feed.until(Markers({*closers, *openers}), self.text)
        if marker in closers and with_closer:
            self.text(marker)
        elif marker not in closers:
            self.feed.at -= len(marker)


# What a marker does; the marker was taken.
Action: TypeAlias = Callable[[State, str], Reading[None]]


def drop_marker(state: State, marker: str) -> Reading[None]:
    """A marker that is neither text nor the beginning of anything."""
    state.structural = True
    yield from ()


def drop_line(state: State, marker: str) -> Reading[None]:
    """The same with the line break that the format writes behind it."""
    yield from state.feed.accept("\n")
    state.structural = True


def close_thought(state: State, marker: str) -> Reading[None]:
    state.enter(inside=False)
    yield from ()


def close_prose(state: State, marker: str) -> Reading[None]:
    state.enter(inside=False, structural=False)
    yield from ()


def show_and_begin(state: State, marker: str) -> Reading[None]:
    """A marker that stays text and behind which an answer may begin anew."""
    state.text(marker)
    state.fresh = True
    yield from ()
