"""The mock engine: who runs, who waits, and whose step is due. No loop, no socket, no clock of its own."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence

from dynamo_fe.workers.faults import cancelled_error
from dynamo_fe.workers.kv_blocks import Held, KvBlocks
from dynamo_fe.workers.pacing import StepClock
from dynamo_fe.workers.playback import Playback, Progress, Sink


class Overloaded(Exception):
    """As many requests run and as many wait as may."""


class Job:
    """One accepted request: its prompt, what is said to it, and where."""

    def __init__(self, prompt: Sequence[int], playback: Playback, sink: Sink, rank: int | None = None) -> None:
        self.prompt = prompt
        self.playback = playback
        self.sink = sink
        self.rank = rank  # None until it runs, if it may be any
        self.held: Held | None = None  # while it runs
        self.ended = False


class Engine:
    """Times are seconds of one monotonic clock that the caller reads.

    Each of `ranks` has a cache of its own. A request with a place starts its prefill at once, by itself, at
    `prefill_tokens_per_sec` (0 = no time at all); `on_prefilled` is told when it is done. Then it takes part in every
    decode step. Waiting ones start in their order.
    """

    def __init__(
        self,
        ranks: Sequence[KvBlocks],
        clock: StepClock,
        *,
        prefill_tokens_per_sec: float,
        max_running: int,
        max_waiting: int,
        on_prefilled: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.ranks = ranks
        self._on_prefilled = on_prefilled
        self._clock = clock
        self._prefill_tokens_per_sec = prefill_tokens_per_sec
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._waiting: deque[Job] = deque()
        self._prefilling: list[tuple[float, int, Job]] = []
        self._decoding: dict[Job, None] = {}
        self._running = 0
        self._order = itertools.count()

    @property
    def running(self) -> int:
        """Requests with a place."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests without one."""
        return len(self._waiting)

    def submit(self, job: Job, now: float) -> None:
        """Takes a request in. Raises `Overloaded`."""
        self._admit(now)
        if not self._waiting and self._start(job, now):
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded
        self._waiting.append(job)

    def cancel(self, job: Job, now: float) -> None:
        """The request is over from outside; its sink is not touched."""
        self._release(job)
        self._admit(now)

    def cancel_all(self) -> None:
        """Ends every request with an error item, also those that still wait."""
        for job in self._waiting:
            job.sink.begin()
        for job in [*self._decoding, *(job for _, _, job in self._prefilling), *self._waiting]:
            if not job.ended:
                self._release(job)
                job.sink.send_error(cancelled_error())
                job.sink.finish()
        self._waiting.clear()

    def advance(self, now: float) -> float | None:
        """Does what is due; returns when to be called again, or None if nothing will be due."""
        while self._prefilling and self._prefilling[0][0] <= now:
            job = heapq.heappop(self._prefilling)[2]
            if not job.ended:
                self._decoding[job] = None
                self._on_prefilled(job)
        if self._decoding:
            self._clock.start(now)
            self._step(self._clock.take(now), now)
        self._admit(now)
        return self._wake_at(now)

    def _step(self, steps: int, now: float) -> None:
        if steps == 0:
            return
        for job in list(self._decoding):
            if job.ended or job.sink.paused:
                continue
            progress = job.playback.advance(steps, now, job.sink)
            if job.held is not None and job.rank is not None:
                self.ranks[job.rank].extend(job.held, job.playback.take_tokens())
            if progress is Progress.GOING:
                job.sink.flush()
                continue
            self._release(job)
            if progress is Progress.FINISHED:
                job.sink.finish()

    def _wake_at(self, now: float) -> float | None:
        if self._decoding:
            return self._clock.wake_at(now)
        self._clock.stop()
        while self._prefilling and self._prefilling[0][2].ended:
            heapq.heappop(self._prefilling)
        return self._prefilling[0][0] if self._prefilling else None

    def _admit(self, now: float) -> None:
        while self._waiting and (self._waiting[0].ended or self._start(self._waiting[0], now)):
            self._waiting.popleft()

    def _start(self, job: Job, now: float) -> bool:
        if self._running >= self._max_running:
            return False
        rank = self._idlest() if job.rank is None else job.rank
        held = self.ranks[rank].acquire(job.prompt)
        if held is None:
            return False
        job.held, job.rank = held, rank
        job.playback.begin(held.cached_tokens)
        self._running += 1
        fresh_tokens = len(job.prompt) - held.cached_tokens
        prefill_secs = fresh_tokens / self._prefill_tokens_per_sec if self._prefill_tokens_per_sec else 0.0
        heapq.heappush(self._prefilling, (now + prefill_secs, next(self._order), job))
        job.sink.begin()
        return True

    def _idlest(self) -> int:
        """The rank with the fewest blocks in use."""
        return min(range(len(self.ranks)), key=lambda rank: self.ranks[rank].used_blocks)

    def _release(self, job: Job) -> None:
        if job.ended:
            return
        job.ended = True
        self._decoding.pop(job, None)
        if job.held is not None and job.rank is not None:
            self._running -= 1
            self.ranks[job.rank].release(job.held)
