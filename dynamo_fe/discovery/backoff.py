"""Waiting between tries, with jitter so that a fleet does not return in step."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `first_secs` to `longest_secs`; each wait is 50 to 150 % of that."""

    def __init__(self, first_secs: float = 0.2, longest_secs: float = 2.0) -> None:
        self._first_secs = first_secs
        self._longest_secs = longest_secs
        self._next_secs = first_secs

    def reset(self) -> None:
        """After a success."""
        self._next_secs = self._first_secs

    def next_secs(self) -> float:
        """How long to wait now."""
        wait_secs = self._next_secs * (0.5 + random.random())
        self._next_secs = min(self._next_secs * 2, self._longest_secs)
        return wait_secs
