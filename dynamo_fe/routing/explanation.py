"""Why a request went to a worker where no prompt was looked at: what the mode saw."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

# a header has to hold them
_MOST_CANDIDATES: Final = 32


def explain(chosen: int, reason: str, instances: Collection[int], in_flight: Callable[[int], int]) -> dict[str, Any]:
    """As KV routing has it, with what there is: the requests that this process had on each worker of the set before."""
    found = sorted(instances, key=lambda number: (number != chosen, in_flight(number), number))
    return {
        "worker_id": chosen,
        "reason": reason if len(found) > 1 else "the only worker",
        "candidates": [
            {"worker_id": number, "active_requests": in_flight(number)} for number in found[:_MOST_CANDIDATES]
        ],
        "candidates_left_out": max(0, len(found) - _MOST_CANDIDATES),
    }
