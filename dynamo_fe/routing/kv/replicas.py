"""What frontends and workers tell each other about running requests. Sans I/O: the caller brings the time.

Source of the messages: Dynamo 1.6.1's `active_sequences_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dynamo_fe.protocol.events import AddRequest, PrefillLoadHint, SequenceEvent, WorkerRank
from dynamo_fe.protocol.events import Booking as BookingEvent
from dynamo_fe.routing.kv.ranks import Booking, RankId, RankLoads

# a request may run on several workers, one after the other or as prefill and decode
LegId = tuple[str, int, int]


class _Theirs(NamedTuple):
    """Another frontend's booking, and the id that it publishes under."""

    booking: Booking
    publisher_id: int


class Replicas:
    """One pool's part. `is_ours` tells a router id whose load is known already: this process and its siblings. `syncs`:
    what other frontends book counts here; otherwise only what workers say of our own requests does, as in the original.

    Bookings of others are bounded by what they run; one of which nothing is heard expires with the pool's loads.
    """

    def __init__(self, loads: RankLoads, router_id: int, is_ours: Callable[[int], bool], syncs: bool) -> None:
        self._loads = loads
        self._syncs = syncs
        self._router_id = router_id
        self._is_ours = is_ours
        self._theirs: dict[LegId, _Theirs] = {}
        self._own: dict[LegId, Callable[[], None]] = {}

    def __len__(self) -> int:
        """Other frontends' bookings."""
        return len(self._theirs)

    def watch(self, request_id: str, key: RankId, prefill_done: Callable[[], None]) -> None:
        """A request of ours is booked; `prefill_done` is called when its worker says that the prompt is computed."""
        self._own[(request_id, *key)] = prefill_done

    def forget(self, request_id: str, key: RankId) -> None:
        """It has ended."""
        self._own.pop((request_id, *key), None)

    def added(
        self, request_id: str, key: RankId, booking: Booking, tracked: Sequence[int], expected: int | None,
        tracks_prefill: bool, lora_name: str | None,
    ) -> SequenceEvent:  # fmt: skip
        """What peers are told of a booking."""
        hint = PrefillLoadHint(booking.prefill_tokens) if tracks_prefill else None
        add = AddRequest(list(tracked), tracks_prefill, expected, hint)
        return SequenceEvent(request_id, WorkerRank(*key), BookingEvent(add), self._router_id, lora_name)

    def prefilled(self, request_id: str, key: RankId) -> SequenceEvent:
        """What they are told of its first output."""
        return SequenceEvent(request_id, WorkerRank(*key), "MarkPrefillCompleted", self._router_id)

    def freed(self, request_id: str, key: RankId) -> SequenceEvent:
        """What they are told of its end."""
        return SequenceEvent(request_id, WorkerRank(*key), "Free", self._router_id)

    def hear(self, event: SequenceEvent, publisher_id: int, now: float) -> bool:
        """Applies the word of another, who publishes under that id; True when the load may have fallen."""
        if self._is_ours(event.router_id):
            return False
        leg = (event.request_id, event.worker.worker_id, event.worker.dp_rank)
        if isinstance(event.data, BookingEvent):
            if self._syncs:
                self._add(leg, event.data.AddRequest, publisher_id, now)
            return False
        if event.data == "Free":
            gone = self._theirs.pop(leg, None)
            if gone is not None:
                gone.booking.free()
            return gone is not None
        own = self._own.get(leg)
        if own is not None:
            own()
            return True
        theirs = self._theirs.get(leg)
        if theirs is not None:
            theirs.booking.prefill_done()
            theirs.booking.touched_at = now
        return theirs is not None

    def publisher_left(self, publisher_id: int) -> bool:
        """Frees what a frontend had booked that is gone without a word; True when the load has fallen."""
        legs = [leg for leg, theirs in self._theirs.items() if theirs.publisher_id == publisher_id]
        for leg in legs:
            self._theirs.pop(leg).booking.free()
        return bool(legs)

    def expired(self) -> None:
        """Forgets the bookings that have come to an end without a word."""
        for leg in [leg for leg, theirs in self._theirs.items() if theirs.booking.rank is None]:
            del self._theirs[leg]

    def _add(self, leg: LegId, add: AddRequest, publisher_id: int, now: float) -> None:
        rank = self._loads.get(leg[1], leg[2])
        if rank is None:
            return
        before = self._theirs.pop(leg, None)
        if before is not None:
            before.booking.free()
        hint = add.prefill_load_hint
        tokens = hint.initial_effective_prefill_tokens if hint is not None and add.track_prefill_tokens else 0
        booking = self._loads.book(rank, add.token_sequence, len(add.token_sequence), tokens, own=False)
        booking.touched_at = now
        self._theirs[leg] = _Theirs(booking, publisher_id)
