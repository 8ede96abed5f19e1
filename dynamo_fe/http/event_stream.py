"""The body of one streamed answer, fed straight from the worker's socket callback.

Granian's `send` puts a chunk into a bounded channel at once and returns an awaitable that is already done; only when
the channel is full (the client does not read) does it return a future. So a frame leaves in the callback that made
it, with no task woken per token, and a future is the sign to stop reading the worker.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

from dynamo_fe.http.exchange import Exchange, Send
from dynamo_fe.ops.alarms import Alarms

HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_KEEP_ALIVE: Final = b":\n\n"
# What one send has at most of what had to wait: a slow reader shows that it progresses with every one.
_SEND_BYTES: Final = 16 << 10


class StalledReader(Exception):
    """The client took nothing of the answer for too long."""


class EventStream:
    """Collects frames until `run` opens the answer, then passes them on as they come.

    `pause` and `resume` stop and start the reading of the workers behind the stream. `keep_alives` ring `keep_alive`
    after the silence that a comment line is to break, None for never.
    """

    __slots__ = (
        "_armed",
        "_blocked",
        "_closed",
        "_exchange",
        "_held",
        "_instant",
        "_keep_alives",
        "_last_sent",
        "_loop",
        "_open",
        "_pause",
        "_resume",
        "_send",
        "_timer",
        "_unsent",
        "_waiter",
    )

    def __init__(
        self,
        exchange: Exchange,
        pause: Callable[[], None],
        resume: Callable[[], None],
        keep_alives: Alarms[EventStream] | None,
    ) -> None:
        self._exchange = exchange
        self._pause = pause
        self._resume = resume
        self._keep_alives = keep_alives
        self._loop = asyncio.get_running_loop()
        self._send: Send
        self._held: list[bytes] = []
        self._unsent: Awaitable[None] | None = None
        self._instant: type | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_sent = 0.0
        self._armed = False
        self._open = False
        self._blocked = False
        self._closed = False

    def feed(self, frames: bytes) -> None:
        """Passes frames on, or holds them while the answer is not open or the client does not read."""
        if not self._open or self._blocked:
            self._held.append(frames)
            return
        self._last_sent = self._loop.time()
        sent = self._send({"type": "http.response.body", "body": frames, "more_body": True})
        if type(sent) is not self._instant and not self._done_at_once(sent):
            self._blocked = True
            self._pause()
            self._wake()

    def held_bytes(self) -> int:
        """What waits for the client."""
        return sum(map(len, self._held))

    def close(self, last: bytes) -> None:
        """No more frames will come after these: `run` sends what is left with them and ends."""
        self._held.append(last)
        self._closed = True
        self._wake()

    async def run(self, on_shown: Callable[[], None]) -> None:
        """Sends the head of the answer and everything up to `close`; `on_shown` is told when the first frames have
        gone. Cancelled when the client goes.

        Raises StalledReader where the exchange says how long a client may take nothing.
        """
        self._send = await self._exchange.start(200, HEADERS)
        try:
            while not self._closed:
                await self._flush()
                if self._closed:
                    break
                self._open, self._blocked = True, False
                self._arm_keep_alive()
                on_shown()
                waiter = self._waiter = self._loop.create_future()
                await waiter
                if self._unsent is not None:
                    unsent, self._unsent = self._unsent, None
                    await self._taken(unsent)
                    await self._flush()
                    self._resume()
            self._open = False
            last, self._held = b"".join(self._held), []
            await self._pass_on(last, more=False)
            on_shown()
        finally:
            self._open = False
            if self._keep_alives is not None:
                self._keep_alives.discard(self)
            if self._timer is not None:
                self._timer.cancel()
            # they hold what holds this object
            self._pause = self._resume = _nothing

    async def _flush(self) -> None:
        while self._held and not self._closed:
            frames, self._held = b"".join(self._held), []
            await self._pass_on(frames, more=True)

    async def _pass_on(self, frames: bytes, more: bool) -> None:
        """`more` is whether anything follows."""
        end = len(frames)
        for start in range(0, max(end, 1), _SEND_BYTES):
            part, rest = frames[start : start + _SEND_BYTES], start + _SEND_BYTES < end
            await self._taken(self._send({"type": "http.response.body", "body": part, "more_body": more or rest}))

    async def _taken(self, sent: Awaitable[None]) -> None:
        """Waits for a send that may wait for the client."""
        patience_secs = self._exchange.patience_secs
        if patience_secs is None:
            await sent
            return
        try:
            async with asyncio.timeout(patience_secs):
                await sent
        except TimeoutError:
            raise StalledReader from None

    def _done_at_once(self, sent: Awaitable[None]) -> bool:
        """Whether a `send` is through already; remembers the type of awaitable that always is."""
        if inspect.iscoroutine(sent) or hasattr(sent, "add_done_callback"):
            self._unsent = sent
            return False
        self._instant = type(sent)
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def keep_alive(self) -> None:
        """Breaks a silence, and looks again when the next one may be over.

        One timer a stream re-arms itself: a timer reset with every frame would cost about 1 µs a token.
        """
        assert self._keep_alives is not None
        limit_secs = left = self._keep_alives.delay_secs
        if self._open and not self._blocked:
            left = self._last_sent + limit_secs - self._loop.time()
            if left <= 0.001:
                self.feed(_KEEP_ALIVE)
                left = limit_secs
        self._timer = self._loop.call_later(left, self.keep_alive)

    def _arm_keep_alive(self) -> None:
        if self._keep_alives is not None and not self._armed:
            self._armed = True
            self._last_sent = self._loop.time()
            self._keep_alives.add(self)


def _nothing() -> None:
    return
