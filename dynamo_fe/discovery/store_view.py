"""The frontend's view of one prefix of the store, which is kinder than the store when the store loses its memory.

After an outage that cannot be replayed, keys that are missing from the new state are kept as *unconfirmed*: their
owners very likely live, and register again or are found dead when they are used. No I/O, no clock of its own.
"""

from __future__ import annotations

from dynamo_fe.discovery.base import Delete, Event, Put

GRACE_SECS = 600.0

Change = Put | Delete


class StoreView:
    """Turns discovery events into changes of the view. `now` is any monotonic clock, in seconds."""

    def __init__(self, grace_secs: float = GRACE_SECS) -> None:
        self._grace_secs = grace_secs
        self._entries: dict[str, bytes] = {}
        self._unconfirmed: dict[str, float] = {}
        self.listed = False

    def apply(self, event: Event, now: float) -> list[Change]:
        """What the event changes. A `Put` is passed on even when the value is the one known."""
        if isinstance(event, Put):
            self._entries[event.key] = event.value
            self._unconfirmed.pop(event.key, None)
            return [event]
        if isinstance(event, Delete):
            return self._remove(event.key)
        self.listed = True
        changes: list[Change] = []
        for key in self._entries.keys() - event.entries.keys():
            if event.after_outage:
                self._unconfirmed.setdefault(key, now + self._grace_secs)
            else:
                changes += self._remove(key)
        for key, value in event.entries.items():
            self._unconfirmed.pop(key, None)
            if self._entries.get(key) != value:
                self._entries[key] = value
                changes.append(Put(key, value))
        return changes

    def drop(self, key: str) -> list[Change]:
        """Gives up a key that the store does not have any more; any other is kept."""
        return self._remove(key) if key in self._unconfirmed else []

    def expire(self, now: float) -> list[Change]:
        """Gives up what stayed unconfirmed for the whole grace."""
        overdue = [key for key, deadline in self._unconfirmed.items() if deadline <= now]
        return [change for key in overdue for change in self._remove(key)]

    def unconfirmed(self) -> set[str]:
        """The keys that live on without the store."""
        return set(self._unconfirmed)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do, or None."""
        return min(self._unconfirmed.values(), default=None)

    def _remove(self, key: str) -> list[Change]:
        self._unconfirmed.pop(key, None)
        return [Delete(key)] if self._entries.pop(key, None) is not None else []
