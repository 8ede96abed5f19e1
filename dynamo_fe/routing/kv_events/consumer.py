"""The one consumer of KV events: follows the sources in discovery, hears them, recovers what was missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from dynamo_fe.discovery.records import Records
from dynamo_fe.planes.event.base import EventPlane, Subscription
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.protocol.event_records import SOURCES_PREFIX, EventSource, Scope, parse_source, recovery_instance
from dynamo_fe.protocol.events import KV_EVENTS, MalformedEvent
from dynamo_fe.protocol.instance import Instance, RecordError
from dynamo_fe.routing.kv_events.index import EventIndex
from dynamo_fe.routing.kv_events.rank import RankFeed, State
from dynamo_fe.routing.kv_events.recovery import RecoveryFailed, recover
from dynamo_fe.routing.kv_events.tally import Tally

log = logging.getLogger("dynamo_fe.routing")

# events of an answer put into the index before other work of the loop has its turn
_TURN_EVENTS: Final = 512
_QUERIES_AT_ONCE: Final = 16
_FIRST_PAUSE_SECS: Final = 0.1
_LONGEST_PAUSE_SECS: Final = 2.0
# A publisher may take note of a subscriber a moment after it was joined: what it says in between goes to nobody, and
# without another event nothing would tell.
_NOTICE_SECS: Final = 1.0


class _Standing(NamedTuple):
    """A publisher's record, and where it is asked."""

    record: EventSource
    target: Instance

    @property
    def rank(self) -> tuple[int, int]:
        worker = self.record.metadata.worker
        return worker.worker_id, worker.dp_rank


class _Source:
    """One publisher in discovery, and what is done for it."""

    def __init__(self, record: EventSource, target: Instance, feed: RankFeed) -> None:
        self.record = record
        self.target = target
        self.feed = feed
        self.recovering: asyncio.Task[None] | None = None
        self.asking_again: asyncio.TimerHandle | None = None
        self._complained = False

    def complain(self) -> None:
        """Names the publisher once when something of it could not be read; the rest is only counted."""
        if self.feed.malformed and not self._complained:
            self._complained = True
            text = "KV events of publisher %x (worker %x rank %d) cannot be read; they are skipped and counted"
            log.warning(text, self.record.publisher_id, *self.rank)

    @property
    def rank(self) -> tuple[int, int]:
        return self.feed.worker_id, self.feed.dp_rank

    def close(self) -> None:
        for pending in (self.recovering, self.asking_again):
            if pending is not None:
                pending.cancel()


class KvEventConsumer:
    """Keeps `index` as the workers say. `accepts` tells the namespaces whose workers count. One loop, one writer."""

    def __init__(
        self,
        events: EventPlane,
        requests: RequestPlane,
        records: Records,
        index: EventIndex,
        tally: Tally,
        accepts: Callable[[str], bool],
    ) -> None:
        self._events = events
        self._requests = requests
        self._index = index
        self._tally = tally
        self._accepts = accepts
        self._sources: dict[int, _Source] = {}
        # by key, the last to appear last: of several publishers for one rank it speaks for it
        self._standing: dict[str, _Standing] = {}
        self._speaker: dict[tuple[int, int], int] = {}
        self._subscriptions: dict[Scope, Subscription] = {}
        self._room = asyncio.Semaphore(_QUERIES_AT_ONCE)
        self._following = records.follow(SOURCES_PREFIX, self._put, self._gone)

    def close(self) -> None:
        """Hears nothing any more; the index stays as it is."""
        self._following.close()
        for subscription in self._subscriptions.values():
            subscription.close()
        for source in self._sources.values():
            source.close()

    def take_now(self) -> None:
        """Takes what has been said already, for a choice that is due."""
        for subscription in self._subscriptions.values():
            subscription.take_now()

    # ---- what is heard -------------------------------------------------------------------------------------------

    def on_event(self, publisher_id: int, payload: bytes) -> None:
        source = self._sources.get(publisher_id)
        if source is not None:
            source.feed.take(payload)
            if source.feed.malformed:
                source.complain()
            if source.feed.wanted:
                self._see_to(source)

    def on_joined(self, publisher_id: int) -> None:
        source = self._sources.get(publisher_id)
        if source is not None:
            self._ask(source)
            if source.asking_again is not None:
                source.asking_again.cancel()
            source.asking_again = asyncio.get_running_loop().call_later(_NOTICE_SECS, self._ask, source)

    def on_left(self, publisher_id: int) -> None:
        """The source's own record says when the rank is gone."""

    # ---- what discovery tells ------------------------------------------------------------------------------------

    def _put(self, key: str, value: bytes) -> None:
        try:
            record = parse_source(key, value)
            target = recovery_instance(record)
        except RecordError as error:
            log.warning("event source left out: %s", error)
            self._gone(key)
            return
        known = self._standing.get(key)
        if known is not None and known.record == record:
            # a store that had lost its memory is told again what it was told before
            return
        self._gone(key)
        if record.topic != KV_EVENTS or not self._accepts(record.scope.endpoint.namespace):
            return
        self._standing[key] = standing = _Standing(record, target)
        if record.scope not in self._subscriptions:
            self._subscriptions[record.scope] = self._events.subscribe(record.scope, KV_EVENTS, self)
        self._listen(standing)

    def _gone(self, key: str) -> None:
        standing = self._standing.pop(key, None)
        if standing is None:
            return
        rank, scope = standing.rank, standing.record.scope
        if self._speaker.get(rank) == standing.record.publisher_id:
            self._silence(self._speaker.pop(rank))
            left = [other for other in self._standing.values() if other.rank == rank]
            if left:
                self._listen(left[-1])
            else:
                self._index.remove_rank(*rank)
        if all(other.record.scope != scope for other in self._standing.values()):
            self._subscriptions.pop(scope).close()
        self._count_sources()

    def _listen(self, standing: _Standing) -> None:
        """That publisher speaks for its rank from now on."""
        record, rank = standing.record, standing.rank
        self._silence(self._speaker.get(rank))
        source = _Source(record, standing.target, RankFeed(*rank, self._index, self._tally))
        self._sources[record.publisher_id] = source
        self._speaker[rank] = record.publisher_id
        self._see_to(source)

    def _silence(self, publisher_id: int | None) -> None:
        """That publisher is not listened to any more."""
        source = self._sources.pop(publisher_id, None) if publisher_id is not None else None
        if source is not None:
            source.close()

    # ---- recovery ------------------------------------------------------------------------------------------------

    def _ask(self, source: _Source) -> None:
        source.feed.joined()
        self._see_to(source)

    def _see_to(self, source: _Source) -> None:
        """Has one task a source ask what is to be asked."""
        if source.feed.wanted and (source.recovering is None or source.recovering.done()):
            source.recovering = asyncio.get_running_loop().create_task(self._recover(source))
            self._count_sources()

    async def _recover(self, source: _Source) -> None:
        feed, pause_secs = source.feed, _FIRST_PAUSE_SECS
        while (query := feed.ask()) is not None:
            try:
                async with self._room:
                    item = await recover(self._requests, source.target, query)
                    feed.answer(item, source.target.codec)
            except (RecoveryFailed, MalformedEvent) as error:
                log.warning("KV events of worker %x rank %d cannot be recovered: %s", *source.rank, error)
                if feed.fail():
                    await asyncio.sleep(pause_secs)
                    pause_secs = min(pause_secs * 2, _LONGEST_PAUSE_SECS)
                continue
            while feed.apply(_TURN_EVENTS):
                await asyncio.sleep(0)
            source.complain()
        self._count_sources()

    def _count_sources(self) -> None:
        self._tally.set("sources", len(self._sources))
        live = sum(source.feed.state is State.LIVE for source in self._sources.values())
        self._tally.set("sources_live", live)
