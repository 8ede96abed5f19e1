"""What a watch remembers of the store, so that after an outage it can tell a store that merely restarted from one
that lost its data. No I/O."""

from __future__ import annotations

from typing import Any

from dynamo_fe.discovery.base import Delete, Event, Put
from dynamo_fe.discovery.etcd_client import Listing
from dynamo_fe.discovery.etcd_messages import EVENT_DELETE


class WatchHistory:
    """The keys below the prefix with the revision that last changed them, and up to which revision that holds."""

    def __init__(self) -> None:
        self.revision = 0
        self._cluster_id = 0
        self._raft_term = 0
        self._keys: dict[bytes, int] = {}

    def restart(self, listing: Listing) -> dict[str, bytes]:
        """Takes a complete listing as the new beginning. Returns it as entries."""
        self._cluster_id = listing.cluster_id
        self._raft_term = listing.raft_term
        self.revision = listing.revision
        self._keys = {entry.key: entry.mod_revision for entry in listing.entries}
        return {entry.key.decode(errors="replace"): entry.value for entry in listing.entries}

    def continues_in(self, listing: Listing) -> bool:
        """Whether the store that gave this listing is a later state of the one we know. False: its data were lost,
        wholly or back to an older state."""
        if listing.cluster_id != self._cluster_id or listing.revision < self.revision:
            return False
        if listing.raft_term < self._raft_term:
            return False
        # Whatever is older than our last revision we must have seen, and exactly so.
        old = (entry for entry in listing.entries if entry.mod_revision <= self.revision)
        return all(self._keys.get(entry.key) == entry.mod_revision for entry in old)

    def take_over(self, listing: Listing) -> set[bytes]:
        """Goes on from a listing that continues ours. Returns the keys that are gone and whose deletion the replay
        must therefore bring. With nothing changed the replay is skipped: history may be compacted meanwhile."""
        self._raft_term = max(self._raft_term, listing.raft_term)
        current = {entry.key: entry.mod_revision for entry in listing.entries}
        if current == self._keys:
            self.revision = listing.revision
        return self._keys.keys() - current.keys()

    def apply(self, raw_events: list[Any]) -> list[Event]:
        """The events of complete revisions, in order."""
        events: list[Event] = []
        for raw in raw_events:
            key: bytes = raw.kv.key
            self.revision = max(self.revision, raw.kv.mod_revision)
            if raw.type == EVENT_DELETE:
                if self._keys.pop(key, None) is not None:
                    events.append(Delete(key.decode(errors="replace")))
            elif self._keys.get(key) != raw.kv.mod_revision:
                self._keys[key] = raw.kv.mod_revision
                events.append(Put(key.decode(errors="replace"), raw.kv.value))
        return events

    def advance(self, revision: int) -> None:
        """A progress notice: nothing else happened up to here."""
        self.revision = max(self.revision, revision)
