"""Who waits for a rank in which class, shown among the serving processes of one host: a class's limits hold for all of
them together, and none of them lets a request go long before an older one of another.

Two requests that come to two processes within the same microseconds may both be the last that a limit allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dynamo_fe.routing.kv.decisions import pool_number
from dynamo_fe.routing.kv.load_table import LINE_WORDS, LoadTable

# How much longer one of another process must have waited to go first: the processes look after their lines in turn, and
# a rank with room should not wait for the one whose turn it is more often than fairness needs.
_OLDER_MS: Final = 500
# a process that has not looked after its line for so long will not use the room that is left to it
_FRESH_MS: Final = 500


class ShownLine:
    """One class of this process, where the others read it."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def count(self, requests: int, isl_tokens: int, cached_tokens: int) -> None:
        """So many wait."""
        self._words[1], self._words[2], self._words[3] = requests, isl_tokens, cached_tokens

    def look(self, strict_priority: int, since: float, now: float) -> None:
        """The first of them has that priority and waits since then; it is looked at now."""
        self._words[4], self._words[5], self._words[6] = strict_priority, _ms(since), _ms(now)


class LineBoard:
    """One pool's part of one process; `name` is the pool's."""

    def __init__(self, table: LoadTable, process: int, name: tuple[object, ...]) -> None:
        self._name = name
        self._numbers: dict[str, int] = {}
        self._own = table.lines(process)
        self._others = [table.lines(other) for other in range(table.processes) if other != process]

    def own(self, policy: str) -> ShownLine | None:
        """Where this process shows who waits in a class; None when more classes have waited than there is room for,
        and nobody sees them.
        """
        number = self._number(policy)
        for at in range(0, len(self._own), LINE_WORDS):
            if self._own[at] in (0, number):
                self._own[at] = number
                return ShownLine(self._own[at : at + LINE_WORDS])
        return None

    def others(self, policy: str) -> tuple[int, int, int]:
        """Requests, prompt tokens and cached tokens that wait in the class in all other processes."""
        requests = isl_tokens = cached_tokens = 0
        for words in self._of_others(policy):
            requests += words[1]
            isl_tokens += words[2]
            cached_tokens += words[3]
        return requests, isl_tokens, cached_tokens

    def goes_first(self, policy: str, strict_priority: int, since: float, now: float) -> bool:
        """Whether another process has one in the class that goes before such a one: by its priority, or since it came
        long before.
        """
        late_ms, fresh_ms = _ms(since) - _OLDER_MS, _ms(now) - _FRESH_MS
        for words in self._of_others(policy):
            if words[1] and words[6] > fresh_ms:
                if words[4] > strict_priority or (words[4] == strict_priority and words[5] < late_ms):
                    return True
        return False

    def _of_others(self, policy: str) -> Iterator[memoryview]:
        number = self._number(policy)
        for lines in self._others:
            for at in range(0, len(lines), LINE_WORDS):
                if lines[at] == number:
                    yield lines[at : at + LINE_WORDS]
                if lines[at] in (0, number):
                    break

    def _number(self, policy: str) -> int:
        number = self._numbers.get(policy)
        if number is None:
            number = self._numbers[policy] = pool_number((*self._name, policy))
        return number


def _ms(secs: float) -> int:
    """Who jumps ahead by more than the age of the host, were it 1e308 s, counts as waiting from its start."""
    return int(max(0.0, secs) * 1000)
