"""A watch on an etcd prefix that outlives outages, compaction and the loss of the store's data."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

from dynamo_fe.discovery import etcd_messages as messages
from dynamo_fe.discovery.backoff import Backoff
from dynamo_fe.discovery.base import Event, Snapshot
from dynamo_fe.discovery.etcd_client import WATCH, EtcdClient, EtcdError, EtcdStream
from dynamo_fe.discovery.etcd_history import WatchHistory

log = logging.getLogger("dynamo_fe.discovery")

# A watch that replays from a revision brings old deletions at once; this is far more than that.
REPLAY_SECS = 10.0


class _GapError(Exception):
    """What happened meanwhile cannot be replayed; only a new listing helps."""


class EtcdWatch:
    """One prefix. `batches()` may be iterated once."""

    def __init__(self, client: EtcdClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._history = WatchHistory()
        self._known = False
        self._outage = False
        self._backoff = Backoff()

    async def batches(self) -> AsyncGenerator[list[Event], None]:
        """Never ends and never raises because of the store."""
        while True:
            try:
                async with contextlib.aclosing(self._session()) as session:
                    async for batch in session:
                        yield batch
            except _GapError as gap:
                log.warning("watch on %s: %s; reading everything anew", self._prefix, gap)
                self._known, self._outage = False, True
            except EtcdError as error:
                wait_secs = self._backoff.next_secs()
                log.debug("watch on %s: %s; again in %.1f s", self._prefix, error, wait_secs)
                await asyncio.sleep(wait_secs)

    async def _session(self) -> AsyncGenerator[list[Event], None]:
        """From a listing until the stream breaks (`EtcdError`) or a gap shows (`_GapError`)."""
        awaited: set[bytes] = set()
        if self._known:
            awaited = await self._reconcile()
        else:
            listing = await self._client.list_prefix(self._prefix)
            self._known = True
            yield [Snapshot(self._history.restart(listing), after_outage=self._outage)]
        stream = await self._client.open(WATCH)
        try:
            await stream.write(self._create_request())
            deadline = asyncio.get_running_loop().time() + REPLAY_SECS
            fragments: list[Any] = []
            while True:
                answer = await self._read(stream, awaited, deadline)
                fragments.extend(answer.events)
                if answer.fragment:
                    continue
                for raw in fragments:
                    awaited.discard(raw.kv.key)
                events = self._history.apply(fragments)
                if not fragments and not answer.created:
                    self._history.advance(answer.header.revision)
                fragments = []
                self._backoff.reset()
                if events:
                    yield events
        finally:
            stream.cancel()

    async def _reconcile(self) -> set[bytes]:
        listing = await self._client.list_prefix(self._prefix, keys_only=True)
        if not self._history.continues_in(listing):
            raise _GapError(f"the store lost its data (revision {listing.revision}, known {self._history.revision})")
        return self._history.take_over(listing)

    async def _read(self, stream: EtcdStream, awaited: set[bytes], deadline: float) -> Any:
        if awaited:
            try:
                async with asyncio.timeout_at(deadline):
                    answer = await stream.read()
            except TimeoutError:
                raise _GapError(f"{len(awaited)} keys are gone without a deletion") from None
        else:
            answer = await stream.read()
        if answer.compact_revision:
            raise _GapError(f"history is compacted up to revision {answer.compact_revision}")
        if answer.canceled:
            reason = answer.cancel_reason or "the watch was cancelled"
            if self._client.token_is_stale(reason):
                self._client.drop_token(stream.token)
            raise self._client.refused(reason)
        return answer

    def _create_request(self) -> Any:
        start = self._prefix.encode()
        return messages.WatchRequest(
            create_request=messages.WatchCreateRequest(
                key=start,
                range_end=messages.prefix_end(start),
                start_revision=self._history.revision + 1,
                progress_notify=True,
                fragment=True,
            )
        )
