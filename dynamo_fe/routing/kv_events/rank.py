"""The KV events of one (worker, rank): order, gaps, recovery (Dynamo 1.6.1's rules). No loop, no socket, no clock."""

from __future__ import annotations

import enum
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final

from dynamo_fe._cext.event_blocks import read_changes, unpack_blocks
from dynamo_fe.protocol.events import MalformedEvent, RouterEvent, Stored, Tier, decode_router_events
from dynamo_fe.protocol.instance import Codec
from dynamo_fe.protocol.kv_recovery import Events, RecoveryQuery, TooNew, TreeDump, decode_answer
from dynamo_fe.routing.kv_events.index import EventIndex
from dynamo_fe.routing.kv_events.tally import Tally

if TYPE_CHECKING:
    from dynamo_fe._cext.prefix_index import Event

    # tier, parent, block hashes, tokens hashes: None where the blocks are gone
    Changed = tuple[int, int | None, array[int], array[int] | None]

TIERS: Final[dict[Tier, int]] = {"device": 0, "host_pinned": 1, "disk": 2, "external": 3}
MAX_BUFFERED_EVENTS: Final = 1024
# a worker that cannot answer: its events are taken as they come
MAX_FAILURES: Final = 5


class State(enum.Enum):
    INITIAL = "initial"  # nothing known yet
    LIVE = "live"
    RECOVERING = "recovering"  # live events wait for an answer


class RankFeed:
    """`take` is given live batches, `answer` and `fail` what came of the queries that `ask` wants asked.

    `wanted`: a query is to be asked. `last` is the id of the last event that is in the index, None before the first
    dump. After an answer `apply` is to be called until it returns False: a dump may hold more than the loop should
    wait for in one go. `malformed` counts what could not be read.
    """

    def __init__(self, worker_id: int, dp_rank: int, index: EventIndex, tally: Tally) -> None:
        self.worker_id = worker_id
        self.dp_rank = dp_rank
        self.state = State.INITIAL
        self.last: int | None = None
        self.wanted = True
        self.malformed = 0
        self._index = index
        self._tally = tally
        self._asked_from: int | None = None
        self._failures = 0
        self._answered: deque[RouterEvent] = deque()
        self._answered_to: int | None = None
        self._buffer: deque[RouterEvent] = deque()

    def joined(self) -> None:
        """Its events arrive from here on: whatever was said before may have been missed."""
        self.wanted = True

    def take(self, payload: bytes) -> None:
        """A live batch."""
        self._tally.add("batches")
        if self.state is State.LIVE and self.last is not None:
            changes = read_changes(payload, self.worker_id, self.dp_rank, self.last + 1)
            if changes is not None:
                self.last += len(changes)
                self._change(changes)
                return
        try:
            events, unreadable = decode_router_events(payload)
        except MalformedEvent:
            self._malformed(1)
            return
        self._malformed(unreadable)
        if not all(map(self._is_ours, events)):
            self._tally.add("foreign")
            return
        for event in events:
            self._take(event)

    def ask(self) -> RecoveryQuery | None:
        """The query to be asked now, if any; the next call comes after its answer was applied, or it failed."""
        if not self.wanted:
            return None
        self.wanted = False
        self._asked_from = None if self.last is None else self.last + 1
        if self.state is State.LIVE:
            self.state = State.RECOVERING
        self._tally.add("queries")
        return RecoveryQuery(self.worker_id, self.dp_rank, self._asked_from)

    def answer(self, item: bytes, codec: Codec) -> None:
        """The answer to the query asked last. Raises MalformedEvent for one that cannot be used."""
        answer, unreadable = decode_answer(item, codec)
        self._malformed(unreadable)
        if isinstance(answer, TreeDump | Events):
            self._adopt(answer)
        elif isinstance(answer, TooNew) and self._asked_from is not None:
            if answer.newest_available + 1 < self._asked_from:
                # it counts from anew: nothing of what we know can be trusted
                self.last, self.wanted = None, True
        else:
            raise MalformedEvent(f"no answer to be used: {answer}")
        self._failures = 0

    def fail(self) -> bool:
        """The query got no answer. Returns whether to ask again; else the events are taken as they come."""
        self._tally.add("query_failures")
        self._failures += 1
        if self._failures < MAX_FAILURES:
            self.wanted = True
            return True
        self._failures = 0
        self._settle()
        return False

    def apply(self, budget_events: int) -> bool:
        """Puts some of an answer into the index; returns whether there is more. After its end go those that waited."""
        while self._answered and budget_events:
            self._apply(self._answered.popleft())
            budget_events -= 1
        if self._answered:
            return True
        if self._answered_to is not None:
            self.last, self._answered_to = max(self.last or 0, self._answered_to), None
        if not self.wanted:
            self._settle()
        return False

    def _malformed(self, count: int) -> None:
        self.malformed += count
        self._tally.add("malformed", count)

    def _adopt(self, answer: TreeDump | Events) -> None:
        if isinstance(answer, TreeDump):
            self._tally.add("dumps")
            self._index.remove_rank(self.worker_id, self.dp_rank)
            self.last = None
            fresh = answer.events
        else:
            fresh = [event for event in answer.events if self.last is None or event.event.event_id > self.last]
        self._answered.extend(event for event in fresh if self._is_ours(event))
        self._answered_to = answer.last_event_id

    def _settle(self) -> None:
        """After an answer, or when none is to be had: the events that waited, then live ones as they come.

        A hole that is left is asked about once more if the answer has brought anything since it was wanted, and skipped
        if it has not: then the worker has no more.
        """
        advanced = self.last is not None and (self._asked_from is None or self.last >= self._asked_from)
        self.state = State.LIVE
        while self._buffer:
            event = self._buffer[0]
            event_id = event.event.event_id
            if self.last is not None and event_id > self.last + 1:
                if advanced:
                    self.state, self.wanted = State.RECOVERING, True
                    return
                self._tally.add("gaps_skipped")
            self._buffer.popleft()
            self._in_order(event)

    def _take(self, event: RouterEvent) -> None:
        if self.state is not State.LIVE:
            self._keep(event)
        elif self.last is None or event.event.event_id <= self.last + 1:
            self._in_order(event)
        else:
            self._tally.add("gaps")
            self.state, self.wanted = State.RECOVERING, True
            self._keep(event)

    def _keep(self, event: RouterEvent) -> None:
        if len(self._buffer) >= MAX_BUFFERED_EVENTS:
            # all of them will be asked for again
            self._buffer.clear()
            self._tally.add("buffer_overflows")
            self.wanted = True
        self._buffer.append(event)

    def _in_order(self, event: RouterEvent) -> None:
        event_id = event.event.event_id
        if self.last is not None and event_id <= self.last:
            self._tally.add("repeated")
            return
        self.last = event_id
        self._apply(event)

    def _is_ours(self, event: RouterEvent) -> bool:
        return event.worker_id == self.worker_id and event.event.dp_rank == self.dp_rank

    def _change(self, changes: list[Changed]) -> None:
        """Applies what came as it should: no gap, nothing of another rank, nothing but blocks stored and removed."""
        index, worker_id, dp_rank = self._index, self.worker_id, self.dp_rank
        for tier, parent, blocks, local in changes:
            if local is None:
                index.removed(worker_id, dp_rank, blocks, tier)
            else:
                index.stored(worker_id, dp_rank, parent, blocks, local, tier)

    def _apply(self, event: RouterEvent) -> None:
        data = event.event.data
        index, worker_id, dp_rank = self._index, self.worker_id, self.dp_rank
        if event.residency_domain != "worker":
            kind: Event = "cleared" if isinstance(data, str) else "removed" if data.stored is None else "stored"
            index.count(kind, "unsupported_residency_domain")
        elif isinstance(data, str):
            index.cleared(worker_id, dp_rank)
        elif data.stored is not None:
            self._store(data.stored, TIERS[event.storage_tier])
        elif data.removed is not None:
            index.removed(worker_id, dp_rank, array("Q", data.removed.block_hashes), TIERS[event.storage_tier])

    def _store(self, stored: Stored, tier: int) -> None:
        try:
            blocks, local = unpack_blocks(bytes(stored.blocks))
        except ValueError:
            self._malformed(1)
            return
        self._index.stored(self.worker_id, self.dp_rank, stored.parent_hash, blocks, local, tier)
