"""Where sessions are bound, told among the processes of one host: in rings that all inherit, as decisions are.

A process reads them before it looks a session up, and whoever starts later, after a kill or a reload, begins with what
the rings still hold. Other frontends hear of sessions on the event plane, which may take longer than a client's next
request.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from dynamo_fe._cext.decision_rings import RingReader, RingWriter
from dynamo_fe.protocol.events import AffinityEvent
from dynamo_fe.routing.kv.decisions import DecisionLog, pool_number

# of all processes together, given by the host as they fill: a request takes some 200 bytes
SESSION_LOG_BYTES: Final = 64 << 20
_NS: Final = 1_000_000_000
_ANY_RANK: Final = 0xFFFF_FFFF
# of a record beside the id: when it was bound, by whom, bytes of the id
_HEAD_WORDS: Final = 3
_WORD_BYTES: Final = 8
# lone surrogates of a JSON string are an id like any other
_ODD_TEXT: Final = "surrogatepass"


class SessionLog:
    """One pool's part of one process. Times are those of the monotonic clock, of which a host has but one."""

    def __init__(self, log: DecisionLog, process: int, name: tuple[object, ...]) -> None:
        self._pool = pool_number(name)
        self._writer = RingWriter(log.memory, log.processes, process)
        # at first everything, also what an earlier process of this seat has told
        self._reader = RingReader(log.memory, log.processes)
        self._others = RingReader(log.memory, log.processes, process)

    def tell(self, event: AffinityEvent, now: float) -> None:
        """A session is bound, or its binding was used."""
        text = event.session_id.encode(errors=_ODD_TEXT)
        words = array("Q", (event.sequence, event.writer_id, len(text)))
        words.frombytes(text + bytes(-len(text) % _WORD_BYTES))
        rank = _ANY_RANK if event.dp_rank is None else event.dp_rank
        self._writer.write(self._pool, event.worker_id, rank, int(now * _NS), words)

    def heard(self, since: float) -> Iterator[tuple[AffinityEvent, float]]:
        """What was told since the last call, by whom it may be, with its time; nothing from before `since`."""
        found = self._reader.read(self._pool, int(max(since, 0.0) * _NS))
        self._reader = self._others
        for time_ns, worker_id, rank, words in found:
            sequence, writer_id, size = words[:_HEAD_WORDS]
            text = words[_HEAD_WORDS:].tobytes()
            # an id that is too long for its ring is told in part
            if size <= len(text):
                session_id = text[:size].decode(errors=_ODD_TEXT)
                dp_rank = None if rank == _ANY_RANK else rank
                yield AffinityEvent(session_id, worker_id, dp_rank, sequence, writer_id), time_ns / _NS
