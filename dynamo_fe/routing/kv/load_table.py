"""The load that the serving processes of one host show each other, and who waits: anonymous memory that they inherit.

Each process has a region and writes to no other one; everybody reads all of them without a lock. A number is eight
bytes, aligned, so that none is read half written; the numbers of a row may be of two moments, which costs a choice
nothing. What a killed process left is cleared by the supervisor.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

# of a region: layout version (grows with every row given out or taken back), router id
_HEADER_WORDS: Final = 8
# worker id, dp_rank + 1 (0: no row), prefill tokens, active blocks in millionths, requests
_ROW_WORDS: Final = 5
# of a policy class of a pool: its number (0: none from here on), then of those who wait in it requests, prompt tokens,
# cached tokens, of the first of them its priority and since when it counts as waiting, and when it was last looked at
# (ms of the monotonic clock)
LINE_WORDS: Final = 7
_LINES: Final = 64
_WORD_BYTES: Final = 8
_BLOCK_SCALE: Final = 1_000_000


class RankLoad(NamedTuple):
    """What a process has booked on one rank."""

    prefill_tokens: int
    active_blocks: float
    requests: int


class LoadTable:
    """`processes` regions of `rows` ranks each. Made before the processes are forked."""

    def __init__(self, processes: int, rows: int) -> None:
        self.processes = processes
        self.rows = rows
        self._region_words = _HEADER_WORDS + rows * _ROW_WORDS
        self._line_words = _LINES * LINE_WORDS
        memory = mmap.mmap(-1, processes * (self._region_words + self._line_words) * _WORD_BYTES)
        words = memoryview(memory).cast("Q")
        self._words, self._waiting = words[: processes * self._region_words], words[processes * self._region_words :]

    def region(self, process: int) -> memoryview:
        """What one process has booked."""
        return self._words[process * self._region_words : (process + 1) * self._region_words]

    def lines(self, process: int) -> memoryview:
        """Who waits there."""
        return self._waiting[process * self._line_words : (process + 1) * self._line_words]

    def clear(self, process: int) -> None:
        """Takes back all that a process showed; for whoever knows that it has ended."""
        region = self.region(process)
        version = region[0] + 1
        region[_HEADER_WORDS:] = memoryview(bytes(self.rows * _ROW_WORDS * _WORD_BYTES)).cast("Q")
        region[1] = 0
        region[0] = version
        self.lines(process)[:] = memoryview(bytes(self._line_words * _WORD_BYTES)).cast("Q")


class OwnLoads:
    """The writing side of one process. `router_id` is the name under which it speaks to other frontends."""

    def __init__(self, table: LoadTable, process: int, router_id: int) -> None:
        self._words = table.region(process)
        self._free = list(range(table.rows - 1, -1, -1))
        self._words[1] = router_id

    def take(self, worker_id: int, dp_rank: int) -> int | None:
        """A row for a rank; None when there is none left, and its load is not shown to the others."""
        if not self._free:
            return None
        row = self._free.pop()
        at = _HEADER_WORDS + row * _ROW_WORDS
        self._words[at] = worker_id
        self._words[at + 1] = dp_rank + 1
        self._words[0] += 1
        return row

    def words(self, row: int) -> memoryview:
        """Where a `BookedLoad` shows what this process has booked there."""
        at = _HEADER_WORDS + row * _ROW_WORDS
        return self._words[at + 2 : at + _ROW_WORDS]

    def give_back(self, row: int) -> None:
        """The rank is gone."""
        at = _HEADER_WORDS + row * _ROW_WORDS
        for word in range(at, at + _ROW_WORDS):
            self._words[word] = 0
        self._words[0] += 1
        self._free.append(row)


class SiblingLoads:
    """The reading side: the sums of all other processes. `slot_of` finds the reader's own number of a rank."""

    def __init__(self, table: LoadTable, process: int, slot_of: Callable[[int, int], int | None]) -> None:
        self._regions = [table.region(other) for other in range(table.processes) if other != process]
        self._versions = [-1] * len(self._regions)
        self._maps: list[list[tuple[int, int]]] = [[] for _ in self._regions]
        self._slot_of = slot_of

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return not self._regions

    def is_sibling(self, router_id: int) -> bool:
        """Whether a process of this host goes by that id: its load is known from here already."""
        return any(region[1] == router_id for region in self._regions)

    def slots_changed(self) -> None:
        """The reader's numbers of ranks are others now."""
        self._versions = [-1] * len(self._regions)

    def loads(self) -> Iterator[tuple[int, RankLoad]]:
        """What each other process has booked on each rank, by the reader's slot."""
        for at, region in enumerate(self._regions):
            if not region[1]:
                continue
            if region[0] != self._versions[at]:
                self._versions[at] = region[0]
                self._maps[at] = list(self._mapped(region))
            for slot, word in self._maps[at]:
                if region[word + 2]:
                    yield slot, RankLoad(region[word], region[word + 1] / _BLOCK_SCALE, region[word + 2])

    def _mapped(self, region: memoryview) -> Iterator[tuple[int, int]]:
        for at in range(_HEADER_WORDS, len(region), _ROW_WORDS):
            if region[at + 1]:
                slot = self._slot_of(region[at], region[at + 1] - 1)
                if slot is not None:
                    yield slot, at + 2
