"""Which rank a session is bound to, shared with other frontends and processes. Sans I/O: the caller brings the time.

Source of the rules and of the message: Dynamo 1.6.1. A binding ends `ttl_secs` after its last use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dynamo_fe.protocol.events import AffinityEvent
from dynamo_fe.routing.kv.ranks import RankId
from dynamo_fe.routing.kv.session_log import SessionLog

# 64 MiB of bindings or so; the least recently used make room
_MOST_SESSIONS: Final = 200_000


@dataclass(slots=True)
class Session:
    """A binding. `rank` None: any of the worker's. `sequence` is the Unix time of binding in nanoseconds, `writer_id`
    the frontend that bound; `in_use` counts running requests, `used_at` is the end of the last one.
    """

    worker_id: int
    rank: int | None
    sequence: int
    writer_id: int
    in_use: int = 0
    used_at: float = 0.0


class Sessions:
    """All bindings. `tell` is given what other frontends should hear; `log` is that of the processes of the host."""

    def __init__(
        self, ttl_secs: float, writer_id: int, tell: Callable[[AffinityEvent], None], log: SessionLog | None = None
    ) -> None:
        self._ttl_secs = ttl_secs
        self._writer_id = writer_id
        self._tell = tell
        self._log = log
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def target(self, session_id: str, now: float) -> tuple[int, int | None] | None:
        """Where the session is bound to; None when it is not, or was idle for too long."""
        self._catch_up(now)
        found = self._sessions.get(session_id)
        if found is None:
            return None
        if not found.in_use and now - found.used_at > self._ttl_secs:
            del self._sessions[session_id]
            return None
        return found.worker_id, found.rank

    def begin(self, session_id: str, key: RankId, now: float, now_ns: int) -> None:
        """A request of the session went to a rank: binds it there unless it is bound there already."""
        found = self._sessions.get(session_id)
        if found is None or found.worker_id != key[0] or found.rank not in (None, key[1]):
            in_use = 0 if found is None else found.in_use
            found = self._sessions[session_id] = Session(key[0], key[1], now_ns, self._writer_id, in_use)
        found.in_use += 1
        found.used_at = now
        self._sessions.move_to_end(session_id)
        self._publish(session_id, found, now)
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def end(self, session_id: str, now: float) -> None:
        """That request has ended."""
        found = self._sessions.get(session_id)
        if found is not None and found.in_use:
            found.in_use -= 1
            found.used_at = now
            self._publish(session_id, found, now)

    def hear(self, event: AffinityEvent, now: float) -> None:
        """Another frontend's word. The later binding holds, of two at one time that of the larger writer id."""
        found = self._sessions.get(event.session_id)
        if found is not None:
            if (event.sequence, event.writer_id) < (found.sequence, found.writer_id):
                return
            found.worker_id, found.rank = event.worker_id, event.dp_rank
            found.sequence, found.writer_id = event.sequence, event.writer_id
            found.used_at = max(found.used_at, now)
        else:
            bound = Session(event.worker_id, event.dp_rank, event.sequence, event.writer_id, used_at=now)
            self._sessions[event.session_id] = bound
        self._sessions.move_to_end(event.session_id)
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def worker_gone(self, worker_id: int) -> None:
        """Its sessions are placed anew."""
        for session_id in [name for name, found in self._sessions.items() if found.worker_id == worker_id]:
            del self._sessions[session_id]

    def expire(self, now: float) -> None:
        """Forgets what was idle for too long; from the least recently used on."""
        for session_id, found in list(self._sessions.items()):
            if not found.in_use and now - found.used_at > self._ttl_secs:
                del self._sessions[session_id]

    def _catch_up(self, now: float) -> None:
        if self._log is not None:
            for event, used_at in self._log.heard(now - self._ttl_secs):
                self.hear(event, used_at)

    def _publish(self, session_id: str, found: Session, now: float) -> None:
        event = AffinityEvent(session_id, found.worker_id, found.rank, found.sequence, found.writer_id)
        if self._log is not None:
            self._log.tell(event, now)
        self._tell(event)
