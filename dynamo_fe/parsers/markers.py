"""Finding the first of several markers in text that comes in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Markers:
    """A set of markers that are live at once; none is the beginning of another. Immutable, shared by requests."""

    __slots__ = ("_match", "_prefixes", "_search", "firsts", "longest", "words")

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        ordered = sorted(self.words)
        self.longest = max(map(len, ordered), default=0)
        self.firsts = "".join(sorted({word[0] for word in ordered}))
        self._prefixes = frozenset(word[:size] for word in ordered for size in range(1, len(word)))
        pattern = re.compile("|".join(map(re.escape, ordered)) or "(?!)")
        self._search, self._match = pattern.search, pattern.match

    def absent_from(self, text: str) -> bool:
        """Whether no marker begins in the text; costs next to nothing for a few characters of prose."""
        for first in self.firsts:
            if first in text:
                return False
        return True

    def find(self, text: str, at: int) -> tuple[int, int] | None:
        """Where the first whole marker behind `at` begins and ends."""
        found = self._search(text, at)
        return None if found is None else found.span()

    def match(self, text: str, at: int) -> str:
        """The whole marker that stands at `at`, or ""."""
        found = self._match(text, at)
        return "" if found is None else found.group()

    def held(self, text: str, at: int) -> int:
        """Length of the longest end of text[at:] that may still become a marker."""
        for size in range(min(self.longest - 1, len(text) - at), 0, -1):
            if text[-size] in self.firsts and text[-size:] in self._prefixes:
                return size
        return 0
