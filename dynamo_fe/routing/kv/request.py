"""What a choice is asked for, and what comes of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynamo_fe.routing.kv.queue import Urgency
from dynamo_fe.routing.kv.ranks import Booking, RankId


@dataclass(slots=True)
class Ask:
    """One request that wants a rank.

    `local` are the block hashes that the index knows, `tracked` the sequence hashes that load goes by. `allowed` are
    the workers it may go to, `banned` tells those left out at the moment. `target` is what a pin or a session asks
    for: a worker and maybe a rank of it; with `strict` nothing else will do. None in an override: as the settings say.
    """

    model: str
    prompt_tokens: int
    local: array[int]
    tracked: array[int]
    allowed: Collection[int]
    banned: Callable[[], Collection[int]] = frozenset
    target: tuple[int, int | None] | None = None
    strict: bool = False
    reason: str = ""
    required_taints: frozenset[str] = frozenset()
    preferred_taints: Mapping[str, float] = field(default_factory=dict)
    assume_kv_reuse: bool | None = None
    track_prefill_tokens: bool | None = None
    urgency: Urgency = Urgency()
    family: str | None = None
    explain: bool = False


@dataclass(slots=True)
class Choice:
    """The rank that a request goes to, where it is booked already.

    `overlap` are blocks on device, host and disk; `best_cached_tokens` is what the best eligible rank has.
    `explanation` is given where it was asked for.
    """

    key: RankId
    booking: Booking
    cost: float
    overlap: tuple[int, int, int]
    cached_tokens: int
    best_cached_tokens: int
    explanation: dict[str, Any] | None = None


class NoRank(Exception):
    """No rank may take the request. `overloaded`: only because all that might are."""

    def __init__(self, text: str, overloaded: bool = False) -> None:
        super().__init__(text)
        self.overloaded = overloaded
