"""Request bodies on their way in: how large, how many bytes of them at once, and how long a sender may be silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from dynamo_fe._cext.json_scan import count_values

T = TypeVar("T")

# From here on a body is large: refused when the budget is spent, and parsed one at a time.
LARGE_BODY_BYTES: Final = 256 << 10
# Small bodies are refused only beyond this multiple of the budget, so that large ones cannot crowd them out.
_SMALL_BODY_SHARE: Final = 1.25
_DECODERS_AT_ONCE: Final = 2
_RECHECKS: Final = 4


class BodyRefused(Exception):
    """The body is not taken: answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Intake:
    """One object a serving process. `limit_mb` bounds one body, `budget_bytes` all of them together, `most_values` what
    a large one may hold: every value becomes an object of 32 to 300 bytes.
    """

    def __init__(self, limit_mb: int, budget_bytes: int, idle_secs: float, most_values: int) -> None:
        self.limit_mb = limit_mb
        self.limit_bytes = limit_mb << 20
        self.in_hand_bytes = 0
        self.refused = 0
        self.decoders = asyncio.Semaphore(_DECODERS_AT_ONCE)
        self._most_values = most_values
        self._budget_bytes = budget_bytes
        self._idle_secs = idle_secs
        self._readers: dict[BodyTicket, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._parsing = asyncio.Lock()

    async def parsed(self, body: bytes, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of a large body, in a thread, if it has not too many values. All but its long texts holds
        the GIL from end to end even so (a million numbers: 70 ms): so large bodies go one at a time, each followed by
        as much time for everybody else.

        Raises BodyRefused, and what `parse` raises.
        """
        async with self._parsing:
            begun = time.perf_counter()
            try:
                return await asyncio.to_thread(self._parse_large, body, parse)
            finally:
                await asyncio.sleep(time.perf_counter() - begun)

    async def check_values(self, body: bytes) -> None:
        """Raises BodyRefused for a large body of too many values."""
        if len(body) > LARGE_BODY_BYTES:
            await asyncio.to_thread(self._check_values, body)

    def _parse_large(self, body: bytes, parse: Callable[[bytes], T]) -> T:
        self._check_values(body)
        return parse(body)

    def _check_values(self, body: bytes) -> None:
        count = count_values(body)
        if count > self._most_values:
            text = f"The request body has {count} JSON values, more than the {self._most_values} of DYN_FE_BODY_VALUES"
            raise BodyRefused(413, text)

    def begin(self, ticket: BodyTicket) -> None:
        """A body is awaited; `ticket` is told when nothing of it comes for too long."""
        loop = asyncio.get_running_loop()
        self._readers[ticket] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._idle_secs / _RECHECKS, self._sweep)

    def progressed(self, ticket: BodyTicket) -> None:
        """A part has come."""
        self._readers[ticket] = asyncio.get_running_loop().time()

    def end(self, ticket: BodyTicket) -> None:
        """Nothing more is awaited."""
        self._readers.pop(ticket, None)

    def admits(self, size_bytes: int, of_body_bytes: int) -> bool:
        """Whether that many more bytes, of a body so large in all, fit into the budget."""
        budget = self._budget_bytes if of_body_bytes > LARGE_BODY_BYTES else self._budget_bytes * _SMALL_BODY_SHARE
        return self.in_hand_bytes + size_bytes <= budget

    def _sweep(self) -> None:
        """One timer for all bodies: a timer each would cost 1 µs a request."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_secs
        for ticket in [ticket for ticket, since in self._readers.items() if since <= oldest]:
            del self._readers[ticket]
            ticket.give_up()
        self._timer = loop.call_later(self._idle_secs / _RECHECKS, self._sweep) if self._readers else None


class BodyTicket:
    """One body's share of the budget, and its reader's clock."""

    __slots__ = ("_intake", "_task", "charged_bytes", "stalled")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._task = asyncio.current_task()
        self.charged_bytes = 0
        self.stalled = False

    def charge(self, size_bytes: int) -> None:
        """Takes bytes from the budget. Raises BodyRefused when they are not there."""
        intake = self._intake
        if not intake.admits(size_bytes, self.charged_bytes + size_bytes):
            intake.refused += 1
            raise BodyRefused(503, "Too many request bodies in hand. Please retry shortly.")
        self.charged_bytes += size_bytes
        intake.in_hand_bytes += size_bytes

    def release(self) -> None:
        """Gives back what was taken."""
        self._intake.in_hand_bytes -= self.charged_bytes
        self.charged_bytes = 0

    def give_up(self) -> None:
        """Interrupts the reader: its sender has been silent for too long."""
        self.stalled = True
        if self._task is not None:
            self._task.cancel()

    def interrupted(self) -> bool:
        """Called in the reader's CancelledError: whether it was our own interruption, which then is over."""
        if not self.stalled or self._task is None:
            return False
        self.stalled = False
        return self._task.uncancel() == 0
