"""The text of an answer as readers see it: they ask for what comes next and wait where it has not come yet.

A reader is a generator that yields where it needs more text; its result never depends on where the pieces were cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Final, TypeAlias, TypeVar

from dynamo_fe.parsers.markers import Markers

T = TypeVar("T")
Reading: TypeAlias = Generator[None, None, T]

# Blanks that are looked through for a marker; more of them are text. A bound, so that held text stays small.
_MOST_SPACE: Final = 256
_SPACE: Final = re.compile(r"[ \t\r\n]*")
NO_MARKERS: Final = Markers(())


class Unreadable(Exception):
    """What follows the marker is no call of the format."""


class Cut(Exception):
    """The answer ended in the middle of a call."""


class Feed:
    """A window on the text: `text` from `at` on is what has come and was not yet taken. `ended`: no more comes; `cut`:
    it ended because the model had no tokens left; `closers`: what ends the region of calls that is being read.
    """

    __slots__ = ("_from", "_kept", "at", "closers", "cut", "ended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.cut = False
        self.closers = NO_MARKERS
        self._kept: list[str] | None = None
        self._from = 0

    def push(self, piece: str) -> None:
        if self._kept is not None:
            self._kept.append(self.text[self._from : self.at])
            self._from = 0
        self.text = self.text[self.at :] + piece
        self.at = 0

    def keep(self, back: int = 0) -> None:
        """From here on, or from `back` characters ago, taken text can be had again by `taken`."""
        self._kept = []
        self._from = self.at - back

    def forget(self) -> None:
        self._kept = None

    def taken(self) -> str:
        """What was taken since `keep`; empty when it is not kept."""
        return "" if self._kept is None else "".join(self._kept) + self.text[self._from : self.at]

    def peek(self) -> Reading[str]:
        """The next character, not taken; empty at the end of the answer."""
        while self.at >= len(self.text):
            if self.ended:
                return ""
            yield
        return self.text[self.at]

    def need(self) -> Reading[str]:
        """The next character, not taken. Raises Cut at the end of the answer."""
        while self.at >= len(self.text):
            if self.ended:
                raise Cut
            yield
        return self.text[self.at]

    def skip_space(self) -> Reading[None]:
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self.ended:
                return
            yield

    def accept(self, word: str) -> Reading[bool]:
        """Takes the word if it comes next."""
        while True:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return True
            rest = self.text[self.at : self.at + len(word)]
            if self.ended or not word.startswith(rest) or len(rest) == len(word):
                return False
            yield

    def space_before(self) -> Reading[int]:
        """Number of blanks that come next, not taken."""
        size = 0
        while True:
            found = _SPACE.match(self.text, self.at + size)
            size = found.end() - self.at if found else size
            if size >= _MOST_SPACE:
                return _MOST_SPACE
            if self.at + size < len(self.text) or self.ended:
                return size
            yield

    def accept_spaced(self, words: Markers) -> Reading[str]:
        """Takes blanks and one of the words if they come next; returns the word, or takes nothing and returns ""."""
        size = yield from self.space_before()
        while True:
            start = self.at + size
            word = words.match(self.text, start)
            if word:
                self.at = start + len(word)
                return word
            if self.ended or words.held(self.text, start) != len(self.text) - start or start >= len(self.text):
                return ""
            yield

    def marker_after(self, words: Markers, size: int) -> Reading[bool]:
        """Whether one of the words comes `size` characters on; nothing is taken."""
        while True:
            start = self.at + size
            if words.match(self.text, start):
                return True
            if self.ended or start >= len(self.text) or words.held(self.text, start) != len(self.text) - start:
                return False
            yield

    def until(self, markers: Markers, emit: Callable[[str], None]) -> Reading[str]:
        """Hands on the text before the next marker as it comes; returns the marker, taken, or "" at the end."""
        while True:
            text = self.text
            found = markers.find(text, self.at)
            if found is not None:
                if found[0] > self.at:
                    emit(text[self.at : found[0]])
                self.at = found[1]
                return text[found[0] : found[1]]
            cut = len(text) if self.ended else len(text) - markers.held(text, self.at)
            if cut > self.at:
                emit(text[self.at : cut])
                self.at = cut
            if self.ended:
                return ""
            yield

    def short_until(self, markers: Markers, most: int) -> Reading[tuple[str, str]]:
        """The text before the next marker, and the marker. Raises Unreadable when it is longer than `most` characters,
        Cut when the answer ends before it.
        """
        parts: list[str] = []
        size = 0

        def collect(text: str) -> None:
            nonlocal size
            parts.append(text)
            size += len(text)
            if size > most:
                raise Unreadable

        marker = yield from self.until(markers, collect)
        if not marker:
            raise Cut
        return "".join(parts), marker


def complete(text: str, reader: Callable[[Feed, Callable[[str], None]], Reading[None]]) -> str | None:
    """What the reader makes of a text that is all there; None where it cannot read all of it."""
    feed, out = Feed(), list[str]()
    feed.push(text.strip(" \t\r\n"))
    feed.ended = True
    try:
        for _ in reader(feed, out.append):
            pass
    except (Unreadable, Cut):
        return None
    return "".join(out) if feed.at == len(feed.text) else None
