"""The inference requests in hand: how many there may be, how long each may take, and how to end them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError

End = Callable[[RequestError], None]

# how long the last words of a request may take to reach its client
_LAST_WORDS_SECS: Final = 2.0
# how late we may be with that before the request counts as past its deadline
_TOLERANCE_SECS: Final = 1.0


class Lifetime:
    """One request. `end` makes it answer with an error now, and does nothing where it is ending already; whoever takes
    over its answer replaces `end`. `abandon` ends it without a word, for a client that does not listen.

    `buffered_bytes` tells how much of its answer waits for the client.
    """

    __slots__ = ("abandon", "buffered_bytes", "due", "end")

    def __init__(self, due: float, end: End) -> None:
        self.due = due
        self.end = self.abandon = end
        self.buffered_bytes: Callable[[], int] = int


class Lifetimes:
    """All of them, in the order of their beginnings, which is that of their deadlines: one timer serves all.

    `limit_secs` bounds the whole life of a request, 0 for no bound; `most` their number.
    """

    def __init__(self, limit_secs: float, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_secs = limit_secs
        self._most = most
        self._all: dict[Lifetime, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.refused_total = 0

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, end: End) -> Lifetime:
        """A request begins. Raises Refusal when there are too many."""
        if len(self._all) >= self._most:
            self.refused_total += 1
            raise Refusal.at_capacity()
        lifetime = Lifetime(self._loop.time() + self._limit_secs, end)
        self._all[lifetime] = None
        if self._timer is None and self._limit_secs:
            self._timer = self._loop.call_at(lifetime.due, self._expire)
        return lifetime

    def leave(self, lifetime: Lifetime) -> None:
        """It has ended."""
        self._all.pop(lifetime, None)

    def end_all(self, error: RequestError) -> int:
        """Ends every request; returns how many there were."""
        lifetimes = list(self._all)
        for lifetime in lifetimes:
            self._end(lifetime, error)
        return len(lifetimes)

    def past_deadline(self) -> int:
        """Requests that should have ended and have not: 0 unless something is wrong with us."""
        if not self._limit_secs:
            return 0
        late = self._loop.time() - _LAST_WORDS_SECS - _TOLERANCE_SECS
        count = 0
        for lifetime in self._all:
            if lifetime.due > late:
                break
            count += 1
        return count

    def buffered_bytes(self) -> int:
        """What waits for clients that do not read."""
        return sum(lifetime.buffered_bytes() for lifetime in self._all)

    def close(self) -> None:
        """Stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for lifetime in list(self._all):
            if lifetime.due > now:
                self._timer = self._loop.call_at(lifetime.due, self._expire)
                return
            self._end(lifetime, RequestError.past_total_deadline(self._limit_secs))

    def _end(self, lifetime: Lifetime, error: RequestError) -> None:
        lifetime.end(error)
        self._loop.call_later(_LAST_WORDS_SECS, self._abandon, lifetime, error)

    def _abandon(self, lifetime: Lifetime, error: RequestError) -> None:
        if lifetime in self._all:
            lifetime.abandon(error)
