"""The response connection: dialled by the worker, one for each request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from dynamo_fe._cext.stream_codec import BadFrame, ResponseDecoder, two_part
from dynamo_fe.planes.request import worker_side
from dynamo_fe.workers.playback import Usage
from dynamo_fe.workers.request import CallBack

_log = logging.getLogger("dynamo_fe.workers")

CONNECT_TIMEOUT_SECS = 5.0
# How long the frontend may take to close its side after the sentinel.
CLOSE_TIMEOUT_SECS = 10.0
# Above this much unsent data a stream skips its steps until half of it is gone.
WRITE_HIGH_BYTES = 65536
# Frontends send nothing but "stop" and "kill" here.
MAX_CONTROL_BYTES = 4096

# A data frame by its lengths, whose data is neither MessagePack (0xc1 is never used in it) nor JSON.
_GARBAGE = two_part(b"", b"\xc1\xc1\xc1\xc1")


class AnswerStream(asyncio.Protocol):
    """A `Sink` over a socket.

    `on_closed` is called once, when the connection is gone for whatever reason; until then the stream counts as open.
    What is sent before the connection stands is kept for it.
    """

    def __init__(self, call_back: CallBack, on_closed: Callable[[AnswerStream], None]) -> None:
        self.call_back = call_back
        self._on_closed: Callable[[AnswerStream], None] | None = on_closed
        self._transport: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._decoder = ResponseDecoder("json", MAX_CONTROL_BYTES)
        self._frames = [worker_side.handshake(call_back.subject)]
        self._reader_is_slow = False
        self._done = False
        self._broken = False

    @property
    def paused(self) -> bool:
        return self._reader_is_slow

    def begin(self) -> None:
        self._frames.append(worker_side.PROLOGUE_OK)
        self._dial()

    def refuse(self, reason: str, typed_error: dict[str, Any]) -> None:
        """Instead of `begin`: calls back only to say that there will be no stream."""
        self._frames += [worker_side.error_prologue(reason, typed_error), worker_side.SENTINEL]
        self._dial()
        self._await_close()

    def send_item(
        self, token_ids: list[int], finish_reason: str | None, index: int | None, usage: Usage | None
    ) -> None:
        self.send_value(_item(token_ids, finish_reason, index, usage))

    def send_value(self, value: Any) -> None:
        self._frames.append(worker_side.item(value, self.call_back.codec))

    def send_bare_value(self, value: Any) -> None:
        """The one value of a handler that answers without the usual envelope around it."""
        self._frames.append(worker_side.bare_item(value, self.call_back.codec))

    def send_error(self, error: dict[str, Any]) -> None:
        self._frames.append(worker_side.error_item(error, self.call_back.codec))

    def send_garbage(self) -> None:
        self._frames.append(_GARBAGE)
        self._await_close()

    def flush(self) -> None:
        if self._transport is not None and self._frames:
            self._transport.write(b"".join(self._frames))
            self._frames.clear()

    def finish(self) -> None:
        self._frames += [worker_side.final(self.call_back.codec), worker_side.SENTINEL]
        self.flush()
        self._await_close()

    def break_off(self) -> None:
        self._broken = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drops what is unsent and closes."""
        if self._transport is not None:
            self._transport.abort()
            return
        if self._dialling is not None:
            self._dialling.cancel()
        self._gone()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the verbs of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        if self._on_closed is None:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.flush()
        if self._broken:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            signals = self._decoder.feed(data)
        except BadFrame as error:
            signals = [*error.items, b"a bad frame"]
        if signals:
            _log.debug("request %s ends by %r", self.call_back.request_id, signals[0])
            self.abort()

    def eof_received(self) -> bool:
        # A half-close is no cancellation: the frontend may go on reading. After the end it is the awaited good-bye.
        return not self._done

    def pause_writing(self) -> None:
        self._reader_is_slow = True

    def resume_writing(self) -> None:
        self._reader_is_slow = False

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()

    def _dial(self) -> None:
        self._dialling = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        target = self.call_back
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
                await loop.create_connection(lambda: self, target.host, target.port)
        except (OSError, TimeoutError) as error:
            _log.warning("request %s: no call-back to %s:%d: %s", target.request_id, target.host, target.port, error)
            self._gone()

    def _await_close(self) -> None:
        self._done = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_SECS, self.abort)

    def _gone(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)


def _item(token_ids: list[int], finish_reason: str | None, index: int | None, usage: Usage | None) -> dict[str, Any]:
    """An item with the members that Dynamo 1.6.1's mocker writes, in its order."""
    item: dict[str, Any] = {
        "token_ids": token_ids,
        "tokens": None,
        "text": None,
        "output_type": "text",
        "cum_log_probs": None,
        "log_probs": None,
        "top_logprobs": None,
        "finish_reason": finish_reason,
        "index": index,
    }
    if usage is not None:
        item["completion_usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": usage.cached_tokens},
        }
    return item
