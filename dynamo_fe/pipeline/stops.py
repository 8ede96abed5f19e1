"""Stop strings, matched on text that comes in pieces cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Finds the earliest stop string across pieces.

    Without `include` what may be the beginning of a stop string is withheld until it is decided, and the text ends
    before the stop string. With `include` nothing is withheld and the stop string is the end of the text.
    """

    __slots__ = ("_include", "_longest", "_stops", "_tail", "hit")

    def __init__(self, stops: Sequence[str], include: bool) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._longest = max(map(len, self._stops))
        self._tail = ""
        self.hit: str | None = None

    def push(self, text: str) -> tuple[str, bool]:
        """Takes the next piece; returns what may be shown now and whether a stop string ended the text."""
        known = len(self._tail)
        window = self._tail + text
        found = [(at, stop) for stop in self._stops if (at := window.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda hit: hit[0] + len(hit[1]) if self._include else hit[0])
            self._tail = ""
            self.hit = stop
            if self._include:
                return window[known : at + len(stop)], True
            return window[:at], True
        if self._include:
            self._tail = window[-(self._longest - 1) :] if self._longest > 1 else ""
            return text, False
        held = self._undecided(window)
        self._tail = window[len(window) - held :] if held else ""
        return window[: len(window) - held], False

    def flush(self) -> str:
        """What was withheld, when the text ended without a stop string."""
        held, self._tail = self._tail, ""
        return "" if self._include else held

    def _undecided(self, window: str) -> int:
        """Length of the longest end of `window` that begins a stop string."""
        longest = 0
        for stop in self._stops:
            at = window.find(stop[0], max(0, len(window) - len(stop) + 1))
            while at >= 0:
                if stop.startswith(window[at:]):
                    longest = max(longest, len(window) - at)
                    break
                at = window.find(stop[0], at + 1)
        return longest
