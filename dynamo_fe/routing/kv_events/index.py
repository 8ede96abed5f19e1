"""What the consumer of KV events writes to."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dynamo_fe._cext.prefix_index import Event, Status


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
    ) -> Status: ...
    def removed(self, worker_id: int, dp_rank: int, block_hashes: array[int], tier: int = 0) -> Status: ...
    def cleared(self, worker_id: int, dp_rank: int) -> Status: ...
    def remove_rank(self, worker_id: int, dp_rank: int) -> bool:
        """Forgets all of a rank."""

    def count(self, event: Event, status: Status) -> None:
        """An event that was not applied."""
