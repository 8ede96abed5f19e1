"""What the consumer of KV events has met, in shared memory: written by it, shown by every process that serves."""

from __future__ import annotations

import mmap
from typing import Final

NAMES: Final = (
    "batches",  # messages of kv-events
    "malformed",  # batches and events that could not be read
    "foreign",  # batches that speak of another worker or rank than their source
    "repeated",  # events that were known already
    "gaps",  # holes in the event ids
    "gaps_skipped",  # of these, what no worker could fill
    "buffer_overflows",
    "queries",  # recovery queries
    "query_failures",
    "dumps",  # answers that replaced all that was known of a rank
    "sources",  # now: ranks that publish
    "sources_live",  # now: of these, the ones whose events are applied as they come
)
TALLY_BYTES: Final = mmap.PAGESIZE


class Tally:
    """Counters by name over `memory`, of at least `TALLY_BYTES`. One process writes."""

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self._slots = memoryview(memory).cast("B")[: 8 * len(NAMES)].cast("Q")

    def add(self, name: str, count: int = 1) -> None:
        self._slots[NAMES.index(name)] += count

    def set(self, name: str, value: int) -> None:
        self._slots[NAMES.index(name)] = value

    def values(self) -> dict[str, int]:
        return dict(zip(NAMES, self._slots, strict=True))
