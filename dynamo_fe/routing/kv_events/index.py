"""What the consumer of KV events writes to."""

from __future__ import annotations

from array import array
from typing import Protocol

EventType = str  # stored, removed, cleared


class EventIndex(Protocol):
    """`_cext.prefix_index.Writer` has these verbs. The first three count what they did and return its status."""

    def stored(
        self,
        worker_id: int,
        dp_rank: int,
        parent: int | None,
        block_hashes: array[int],
        local_hashes: array[int],
        tier: int = 0,
    ) -> str: ...
    def removed(self, worker_id: int, dp_rank: int, block_hashes: array[int], tier: int = 0) -> str: ...
    def cleared(self, worker_id: int, dp_rank: int) -> str: ...
    def remove_rank(self, worker_id: int, dp_rank: int) -> bool:
        """Forgets all of a rank."""

    def count(self, event: EventType, status: str) -> None:
        """An event that was not applied."""
