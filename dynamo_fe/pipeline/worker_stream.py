"""One worker's answer to one request, whatever it is made of: its end, its failure, its hold on the worker.

The siblings: `deliver.Delivery` for workers that answer tokens, `text_deliver.TextDelivery` for those that answer text,
`tensor_deliver.TensorDelivery` for tensors.
"""

from __future__ import annotations

import abc
import logging
from array import array
from collections.abc import Callable

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.ops.logs import trace_of
from dynamo_fe.pipeline.delta import Delta, DeltaSink, Piece, Usage
from dynamo_fe.planes.request.base import ResponseHandle
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker import Codec

_log = logging.getLogger("dynamo_fe.pipeline")


class WorkerStream(abc.ABC):
    """Receives one worker stream (a `planes` StreamSink) and feeds a DeltaSink.

    `on_failure` hears of every failure with whether nothing was shown yet; True means that another worker takes over
    and this object goes on with its items. `on_first` is told of the first items of each worker, `on_first_token` of
    the first tokens of the answer, `on_tokens` of the number of those that came with one read, `on_output` of the
    tokens of each item and the number of its choice, `on_over` of the end.

    `first_token_at` and `last_token_at` are times of `time.perf_counter`, 0 while there was none; `last_gap_secs` is
    the distance of the last tokens.
    """

    __slots__ = (
        "_first",
        "_most_received",
        "_note",
        "_sink",
        "codec",
        "ended",
        "first_token_at",
        "handle",
        "last_gap_secs",
        "last_token_at",
        "on_failure",
        "on_first",
        "on_first_token",
        "on_outgrown",
        "on_output",
        "on_over",
        "on_tokens",
        "paused",
        "received",
        "request_id",
    )

    def __init__(self, sink: DeltaSink) -> None:
        self._sink = sink
        self._first = True
        self._most_received = 0
        self._note: Callable[[list[int]], None] | None = None
        self.codec: Codec = "msgpack"
        self.ended = False
        self.handle: ResponseHandle | None = None
        self.on_failure: Callable[[RequestError, bool], bool] | None = None
        self.on_first: Callable[[], None] | None = None
        self.on_first_token: Callable[[], None] | None = None
        self.on_outgrown: Callable[[], None] | None = None
        self.on_output: Callable[[int, list[int]], None] | None = None
        self.on_over: Callable[[], None] | None = None
        self.on_tokens: Callable[[int], None] | None = None
        self.first_token_at = self.last_token_at = self.last_gap_secs = 0.0
        self.paused = False
        self.request_id = ""
        self.received: array[int] | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens taken so far, over all choices; 0 where none are seen."""
        return 0

    @property
    @abc.abstractmethod
    def answered(self) -> bool:
        """Whether every choice has come to its end, so that only the marker of the stream's end is missing."""

    @abc.abstractmethod
    def on_items(self, items: list[OutputItem]) -> None:
        """Takes what one socket read brought."""

    @abc.abstractmethod
    def on_end(self, error: RequestError | None) -> None:
        """The stream ended: None after its final marker."""

    @abc.abstractmethod
    def move(self) -> None:
        """The rest comes from another worker, to which what came so far is a part of the prompt."""

    @abc.abstractmethod
    def complete(self) -> None:
        """Ends the answer here as one that used up its tokens, unless it had its end already."""

    @abc.abstractmethod
    def usage(self) -> Usage:
        """What the answer cost so far."""

    def show_nothing(self) -> None:
        """Ends an answer that no worker gives: one piece without anything in it, and no finish reason."""
        self._hand_over([Delta(0, "", None, 0, [])])
        self._finish(None, tell_worker=False)

    def attach(self, handle: ResponseHandle, codec: Codec) -> None:
        """The stream that the items come from now, and the codec of those it could not read quickly."""
        if self.ended:
            handle.cancel()
            return
        self.handle = handle
        self.codec = codec
        if self.paused:
            handle.pause()

    def remember(self, most: int) -> None:
        """Keeps the received tokens in `received` (4 bytes and 25 ns each) until there are more than `most`; then
        `on_outgrown` is told and `received` is None.
        """
        self.received = array("I")
        self._note = self.received.fromlist
        self._most_received = most

    def cancel(self) -> None:
        """The client has gone: the worker is told, the sink hears no more."""
        self._let_go(tell_worker=True)

    def pause(self) -> None:
        """Stops reading the worker's stream while the client does not read ours."""
        self.paused = True
        if self.handle is not None:
            self.handle.pause()

    def resume(self) -> None:
        """Reads on."""
        self.paused = False
        if self.handle is not None:
            self.handle.resume()

    def _hand_over(self, pieces: list[Piece]) -> None:
        if pieces:
            self._first = False
            if self.on_first is not None:
                on_first, self.on_first = self.on_first, None
                on_first()
            self._sink.on_deltas(pieces)

    def _fail(self, error: RequestError, tell_worker: bool) -> None:
        error = error.kept()
        if self.on_failure is not None and self.on_failure(error, self._first):
            if tell_worker and self.handle is not None:
                self.handle.cancel()
            return
        self._finish(error, tell_worker)

    def _break_off(self, error: Exception) -> None:
        """A fault of ours: raised out of a socket callback it would close the connection and read as a worker lost."""
        text = "an item could not be delivered"
        _log.error("request %s: %s: %s", self.request_id, text, trace_of(error))
        self._finish(RequestError("Internal", "runtime.internal", text), tell_worker=True)

    def _outgrow(self) -> None:
        self.received = self._note = None
        if self.on_outgrown is not None:
            self.on_outgrown()

    def _let_go(self, tell_worker: bool) -> None:
        """The end. The hooks and the handle hold what holds this object: a cycle would wait for the garbage
        collector.
        """
        self.ended = True
        on_over, handle = self.on_over, self.handle
        self.on_failure = self.on_first = self.on_first_token = self.on_over = self.on_outgrown = None
        self.received = self._note = self.handle = None
        if on_over is not None:
            on_over()
        if tell_worker and handle is not None:
            handle.cancel()

    def _finish(self, error: RequestError | None, tell_worker: bool) -> None:
        self._let_go(tell_worker)
        self._sink.on_finish(self.usage(), error)
