"""One request's answer: from the acknowledgement over the worker's call-back to the end of the stream."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import orjson

from dynamo_fe._cext.stream_codec import FINAL, BadFrame, FinalMarker, OutputItem, ResponseDecoder
from dynamo_fe.ops.alarms import Alarms
from dynamo_fe.planes.request.base import StreamSink
from dynamo_fe.planes.request.message import KILL_FRAME
from dynamo_fe.planes.request.options import PlaneOptions
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance

log = logging.getLogger("dynamo_fe.planes")

SENTINEL = b'"sentinel"'
# after the final marker: how long the sentinel or the worker's close may take before the socket is dropped
LINGER_SECS = 1.0
# what a limit of 0 means
_EVER_SECS = 1e8

# what a stream's phases are timed by, in their order
PhaseAlarms: TypeAlias = "tuple[Alarms[ResponseStream], ...]"


# What a stream waits for, in this order. Plain numbers: to compare two members of an enumeration costs 0.07 µs, and a
# short request does it thirty times.
ACK: Final = 0
CALLBACK: Final = 1
PROLOGUE: Final = 2
FIRST_ITEM: Final = 3
ITEM: Final = 4
CLOSE: Final = 5
ENDED: Final = 6

# the names of the phases in protocol.errors.DEADLINE_STAGES
_STAGES = {
    ACK: "ack",
    CALLBACK: "callback",
    PROLOGUE: "prologue",
    FIRST_ITEM: "first_item",
    ITEM: "item",
}


def phase_alarms(loop: asyncio.AbstractEventLoop, options: PlaneOptions) -> PhaseAlarms:
    """The alarms of the phases from ACK to CLOSE, for all streams of a plane."""
    limits = (
        options.ack_timeout_secs,
        options.callback_timeout_secs,
        options.prologue_timeout_secs,
        options.first_item_timeout_secs,
        options.item_timeout_secs,
        LINGER_SECS,
    )
    return tuple(Alarms(loop, limit or _EVER_SECS, ResponseStream.on_alarm) for limit in limits)


def reset(transport: asyncio.BaseTransport) -> None:
    """Closes so that the peer sees a reset, as the original does where it gives a connection up."""
    sock = cast("socket.socket | None", transport.get_extra_info("socket"))
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as error:
            log.debug("no linger on a closing socket: %s", error)
    cast(asyncio.Transport, transport).abort()


class ResponseStream(asyncio.Protocol):
    """The protocol of one response connection once its handshake is read, and the handle that its requester holds.

    `on_started` and `on_ended` are told at most once each, with the stream: when the worker began to answer, and when
    the stream is over for whatever reason.
    """

    __slots__ = (
        "_alarms",
        "_feed",
        "_last",
        "_loop",
        "_now",
        "_on_ended",
        "_on_items",
        "_on_started",
        "_paused",
        "_phase",
        "_quick",
        "_sink",
        "_timer",
        "_transport",
        "host",
        "instance_id",
        "queued_until",
        "request_id",
        "subject",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_frame_bytes: int,
        alarms: PhaseAlarms,
        subject: str,
        request_id: str,
        instance: Instance,
        sink: StreamSink,
        on_started: Callable[[ResponseStream], None],
        on_ended: Callable[[ResponseStream], None],
    ) -> None:
        self.subject = subject
        self.request_id = request_id
        self.instance_id = instance.instance_id
        self.queued_until = time.perf_counter()
        # "" where a broker is the way to the instance
        self.host = instance.host
        self._loop = loop
        self._now = loop.time
        self._alarms = alarms
        self._feed = ResponseDecoder(instance.codec, max_frame_bytes).feed
        self._sink = sink
        self._on_items = sink.on_items
        self._on_started = on_started
        self._on_ended = on_ended
        self._phase = ACK
        # in the middle of the items, where nothing but items is likely
        self._quick = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # ---- what the plane tells -------------------------------------------------------------------------------------

    @property
    def acknowledged(self) -> bool:
        return self._phase > ACK

    @property
    def called_back(self) -> bool:
        return self._phase > CALLBACK

    @property
    def paused(self) -> bool:
        return self._paused

    def sent(self) -> None:
        """The request is written."""
        self._enter(ACK)

    def on_ack(self, text: bytes) -> None:
        """The acknowledgement came; it may come after the call-back, and even after the end."""
        if text:
            self.fail(RequestError.from_ack(text[:512].decode(errors="replace")))
        elif self._phase == ACK:
            self._enter(CALLBACK)

    def on_request_lost(self, error: RequestError) -> None:
        """The request connection went before the acknowledgement; who has called back has accepted, though."""
        if self._phase == ACK:
            self.fail(error)

    def attach(self, transport: asyncio.Transport, rest: bytes) -> None:
        """The worker called back; `rest` is what came after its handshake in the same read."""
        self._transport = transport
        self._enter(PROLOGUE)
        transport.set_protocol(self)
        if self._paused:
            transport.pause_reading()
        if rest:
            self.data_received(rest)

    def fail(self, error: RequestError, *, by_reset: bool = False) -> None:
        """Ends the stream with `error`; a worker that has called back is told to stop."""
        if self._phase >= CLOSE:
            return
        self._let_go(by_reset)
        self._sink.on_end(error)

    # ---- what the requester may do --------------------------------------------------------------------------------

    def cancel(self) -> None:
        if self._phase < CLOSE:
            self._let_go(by_reset=False)

    def pause(self) -> None:
        if self._paused or self._phase >= CLOSE:
            return
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._paused or self._phase >= CLOSE:
            return
        self._paused = False
        self._last = self._now()
        if self._transport is not None:
            self._transport.resume_reading()

    # ---- what the socket brings -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            items = self._feed(data)
        except BadFrame as error:
            self._bad_frame(error)
            return
        if items:
            # Only whole frames count as a sign of life: a worker that dribbles bytes is as good as silent.
            self._last = self._now()
            # Only the end of the data frames may follow them, so the last one tells about all.
            if self._quick and type(items[-1]) is OutputItem:
                self._on_items(cast("list[OutputItem]", items))
            else:
                self._received(items)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._phase == CLOSE:
            self._finish()
        elif self._phase != ENDED:
            why = f": {exc}" if exc is not None else ""
            self.fail(RequestError.disconnected(f"the worker's stream broke off before its end{why}"))

    def _received(self, items: list[OutputItem | bytes | FinalMarker]) -> None:
        """A read that brought more than items, or the first of them."""
        batch: list[OutputItem] = []
        for item in items:
            if self._phase >= CLOSE:
                self._after_end(item)
            elif isinstance(item, OutputItem):
                if self._phase == PROLOGUE:
                    self._give_up("an item before the prologue")
                else:
                    batch.append(item)
            elif self._phase == PROLOGUE and isinstance(item, bytes):
                self._prologue(item)
            else:
                self._deliver(batch)
                batch = []
                self._ending(item)
        self._deliver(batch)

    def _deliver(self, batch: list[OutputItem]) -> None:
        if batch and self._phase < CLOSE:
            if self._phase == FIRST_ITEM:
                self._enter(ITEM)
                self._quick = True
            self._on_items(batch)

    def _prologue(self, header: bytes) -> None:
        if header == SENTINEL:
            self.fail(RequestError.disconnected("the worker's stream ended without a prologue"))
            return
        try:
            prologue = orjson.loads(header)
        except orjson.JSONDecodeError as error:
            self._give_up(f"the prologue is no JSON: {error}")
            return
        if not isinstance(prologue, dict) or "error" not in prologue:
            self._give_up("the prologue says nothing about an error")
        elif prologue["error"] is not None:
            self.fail(RequestError.from_prologue(prologue), by_reset=True)
        else:
            self._enter(FIRST_ITEM)
            self._on_started(self)

    def _ending(self, item: bytes | FinalMarker) -> None:
        if self._phase >= CLOSE:
            return
        if item is FINAL:
            self._await_close()
            self._sink.on_end(None)
        elif item == SENTINEL:
            self.fail(RequestError.disconnected("the worker's stream ended without its final marker"))
        else:
            self._give_up("an unknown control frame")

    def _await_close(self) -> None:
        """All is said: our side is closed at once, the socket when the sentinel or the worker's close has come.

        To close it whole right away would answer a sentinel that is still on its way with a reset.
        TLS has no half close.
        """
        self._enter(CLOSE)
        self._quick = False
        self._on_ended(self)
        if self._transport is not None:
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _after_end(self, item: OutputItem | bytes | FinalMarker) -> None:
        if self._phase == CLOSE and item == SENTINEL:
            self._finish()

    def _finish(self) -> None:
        self._drop_timer()
        self._phase = ENDED
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _bad_frame(self, error: BadFrame) -> None:
        if self._phase == CLOSE:
            self._finish()
            return
        if error.items:
            self._received(error.items)
        self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self.fail(RequestError.protocol_error(f"the worker broke the stream protocol: {why}"), by_reset=True)

    def _let_go(self, by_reset: bool) -> None:
        self._drop_timer()
        self._phase = ENDED
        self._quick = False
        transport, self._transport = self._transport, None
        if transport is not None:
            if by_reset:
                reset(transport)
            elif not transport.is_closing():
                # a close alone is no cancellation: the worker would notice at some later write
                transport.write(KILL_FRAME)
                transport.close()
        self._on_ended(self)

    # ---- time ------------------------------------------------------------------------------------------------------

    def on_alarm(self) -> None:
        """The present phase has lasted as long as it may, or its last sign of life was later than its beginning."""
        if self._phase == ENDED:
            return
        self._timer = None
        now = self._now()
        limit = self._alarms[self._phase].delay_secs
        due = (now if self._paused else self._last) + limit
        if due > now:
            self._timer = self._loop.call_at(due, self.on_alarm)
        elif self._phase == CLOSE:
            self._finish()
        else:
            by_broker = self._phase == ACK and not self.host
            self.fail(
                RequestError.no_reply(limit) if by_broker else RequestError.deadline(_STAGES[self._phase], limit)
            )

    def is_late(self, tolerance_secs: float) -> bool:
        """Whether its worker has been waited for by so much more than may be, and the stream has not ended all the
        same.
        """
        limit = self._alarms[self._phase].delay_secs
        return self._phase < CLOSE and not self._paused and self._now() > self._last + limit + tolerance_secs

    def _enter(self, phase: int) -> None:
        """Begins to wait for the next thing."""
        alarms = self._alarms
        alarms[self._phase].discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._phase = phase
        self._last = alarms[phase].add(self)

    def _drop_timer(self) -> None:
        if self._phase < ENDED:
            self._alarms[self._phase].discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
