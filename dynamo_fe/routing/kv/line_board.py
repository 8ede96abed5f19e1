"""Who waits for a rank in which class, shown among the serving processes of one host, so that a class's limits hold for
all of them together. Two requests that come to two processes within the same microseconds may both be the last one.
"""

from __future__ import annotations

from dynamo_fe.routing.kv.decisions import pool_number
from dynamo_fe.routing.kv.load_table import LINE_WORDS, LoadTable


class LineBoard:
    """One pool's part of one process; `name` is the pool's."""

    def __init__(self, table: LoadTable, process: int, name: tuple[object, ...]) -> None:
        self._name = name
        self._own = table.lines(process)
        self._others = [table.lines(other) for other in range(table.processes) if other != process]

    def own(self, policy: str) -> memoryview | None:
        """Where this process shows requests, prompt tokens and cached tokens that wait in a class; None when more
        classes have waited than there is room for, and nobody sees them.
        """
        number = pool_number((*self._name, policy))
        for at in range(0, len(self._own), LINE_WORDS):
            if self._own[at] in (0, number):
                self._own[at] = number
                return self._own[at + 1 : at + LINE_WORDS]
        return None

    def others(self, policy: str) -> tuple[int, int, int]:
        """The same of all other processes, in sum."""
        number = pool_number((*self._name, policy))
        requests = isl_tokens = cached_tokens = 0
        for lines in self._others:
            for at in range(0, len(lines), LINE_WORDS):
                if lines[at] == number:
                    requests += lines[at + 1]
                    isl_tokens += lines[at + 2]
                    cached_tokens += lines[at + 3]
                if lines[at] in (0, number):
                    break
        return requests, isl_tokens, cached_tokens
