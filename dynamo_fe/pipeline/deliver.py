"""From the items of a worker to pieces of text: the token path.

Everything one socket read brought is handled in one call and handed on in one call; nothing here waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.ops.metrics import Histogram
from dynamo_fe.pipeline.choice import Choice, StopRules
from dynamo_fe.pipeline.delta import Delta, DeltaSink, Piece, TokenLogprob, Usage
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.planes.request.base import ResponseHandle
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker import Codec, CompletionUsage, FinishError, WorkerItem, decode_envelope, decode_usage

_log = logging.getLogger("dynamo_fe.pipeline")


class Delivery:
    """Receives one worker stream (a `planes` StreamSink) and feeds a DeltaSink.

    `on_failure` hears of every failure with whether nothing was shown yet; True means that another worker takes over
    and this object goes on with its items. `rich` asks for a Delta for every item instead of bare text.
    """

    __slots__ = (
        "_choices",
        "_codec",
        "_first",
        "_handle",
        "_inter_token_seconds",
        "_last_at",
        "_live",
        "_logprobs_wanted",
        "_only",
        "_paused",
        "_prompt_tokens",
        "_reported",
        "_rich",
        "_sink",
        "_tokenizer",
        "_usage_raw",
        "ended",
        "first_token_at",
        "on_failure",
    )

    def __init__(self, prepared: Prepared, sink: DeltaSink, inter_token_seconds: Histogram, rich: bool) -> None:
        rules = StopRules(prepared.body)
        tokenizer = tokenizer_of(prepared.model)
        skip_special = prepared.body.output_options.skip_special_tokens is not False
        prompt = prepared.body.token_ids
        self._tokenizer: TextTokenizer = tokenizer
        self._choices = [Choice(tokenizer.decoder(skip_special, prompt), rules) for _ in range(prepared.choices)]
        self._logprobs_wanted = prepared.body.output_options.logprobs is not None
        self._rich = rich or self._logprobs_wanted
        self._only = self._choices[0] if prepared.choices == 1 and self._choices[0].plain and not self._rich else None
        self._live = prepared.choices
        self._prompt_tokens = prepared.prompt_tokens
        self._sink = sink
        self._inter_token_seconds = inter_token_seconds
        self._usage_raw: bytes | None = None
        self._reported: CompletionUsage | None = None
        self._first = True
        self._last_at = 0.0
        self.first_token_at = 0.0
        self.ended = False
        self._codec: Codec = "msgpack"
        self._handle: ResponseHandle | None = None
        self._paused = False
        self.on_failure: Callable[[RequestError, bool], bool] | None = None

    @property
    def completion_tokens(self) -> int:
        """Tokens taken so far, over all choices."""
        return sum(choice.tokens for choice in self._choices)

    def attach(self, handle: ResponseHandle, codec: Codec) -> None:
        """The stream that the items come from now, and the codec of those it could not read quickly."""
        self._handle = handle
        self._codec = codec
        if self.ended:
            handle.cancel()
        elif self._paused:
            handle.pause()

    def on_items(self, items: list[OutputItem]) -> None:
        """Takes what one socket read brought."""
        if self.ended:
            return
        pieces: list[Piece] = []
        only = self._only
        taken = 0
        try:
            for item in items:
                ids = item.token_ids
                if (
                    only is None
                    or item.raw is not None
                    or item.finish_reason is not None
                    or item.index
                    or not only.hidden.isdisjoint(ids)
                ):
                    taken += self._take(item, pieces)
                    only = self._only
                    continue
                if item.usage is not None:
                    self._usage_raw = item.usage
                only.tokens += len(ids)
                taken += len(ids)
                text = only.push(ids)
                if text:
                    pieces.append(text)
                elif not only.started:
                    pieces.append("")
                only.started = True
        except RequestError as error:
            self._note_time(taken)
            self._hand_over(pieces)
            self._fail(error, tell_worker=True)
            return
        except Exception:
            # Out of a socket callback it would close the connection and read as a worker lost.
            _log.exception("an item could not be delivered")
            self._finish(
                RequestError("Internal", "runtime.internal", "an item could not be delivered"), tell_worker=True
            )
            return
        self._note_time(taken)
        self._hand_over(pieces)
        if not self._live and not self.ended:
            self._finish(None, tell_worker=True)

    def on_end(self, error: RequestError | None) -> None:
        """The stream ended: None after its final marker."""
        if self.ended:
            return
        if error is not None:
            self._fail(error, tell_worker=False)
            return
        pieces: list[Piece] = []
        for index, choice in enumerate(self._choices):
            rest = "" if choice.finished else choice.rest()
            if rest:
                pieces.append(Delta(index, rest, None, self.completion_tokens, []))
        self._hand_over(pieces)
        self._finish(None, tell_worker=False)

    def cancel(self) -> None:
        """The client has gone: the worker is told, the sink hears no more."""
        self.ended = True
        if self._handle is not None:
            self._handle.cancel()

    def pause(self) -> None:
        """Stops reading the worker's stream, and that of one that takes over, while the client does not read ours."""
        self._paused = True
        if self._handle is not None:
            self._handle.pause()

    def resume(self) -> None:
        """Reads on."""
        self._paused = False
        if self._handle is not None:
            self._handle.resume()

    def _take(self, item: OutputItem, pieces: list[Piece]) -> int:
        """One item with everything it may carry; returns its tokens. Raises RequestError for an error item."""
        if item.raw is not None:
            full = self._decoded(item.raw, self._first and not pieces)
            return 0 if full is None else self._take_full(full, pieces)
        if item.usage is not None:
            self._usage_raw = item.usage
        return self._show(item.index, item.token_ids, item.finish_reason, None, None, pieces)

    def _take_full(self, item: WorkerItem, pieces: list[Piece]) -> int:
        if item.completion_usage is not None:
            self._reported, self._usage_raw = item.completion_usage, None
        finish = item.finish_reason
        if isinstance(finish, FinishError) or finish == "error":
            detail = finish.error if isinstance(finish, FinishError) else "the engine reported an error"
            raise RequestError("Internal", "backend.unknown", detail, origin="worker")
        logprobs = item if self._logprobs_wanted and item.log_probs is not None else None
        return self._show(item.index or 0, item.token_ids, finish, item.text, logprobs, pieces)

    def _show(
        self,
        index: int,
        token_ids: list[int],
        finish: str | None,
        text: str | None,
        logprobs: WorkerItem | None,
        pieces: list[Piece],
    ) -> int:
        if index >= len(self._choices):
            raise RequestError.protocol_error(f"item of choice {index} of a request for {len(self._choices)}")
        choice = self._choices[index]
        if choice.ended:
            return 0
        if text is None:
            text, reason, taken = choice.take(token_ids, finish)
        else:
            taken = len(token_ids)
            choice.tokens += taken
            reason = choice.finish(finish)
        shown = token_ids[:taken]
        details = None if logprobs is None else self._token_logprobs(logprobs, shown)
        if text or reason is not None or details or not choice.started:
            choice.started = True
            pieces.append(Delta(index, text, reason, self.completion_tokens, shown, details))
        if choice.ended:
            self._live -= 1
            self._only = None
        return taken

    def _token_logprobs(self, item: WorkerItem, shown: list[int]) -> list[TokenLogprob]:
        tops = item.top_logprobs
        return [
            TokenLogprob(token_id, logprob, tops[at] if tops is not None and at < len(tops) else None)
            for at, (token_id, logprob) in enumerate(zip(shown, item.log_probs or (), strict=False))
        ]

    def _decoded(self, raw: bytes, first: bool) -> WorkerItem | None:
        try:
            envelope = decode_envelope(raw, self._codec)
        except msgspec.MsgspecError as error:
            raise RequestError.protocol_error(f"item cannot be read: {error}") from error
        if envelope.event == "error":
            raise RequestError.from_wire(envelope.error, first)
        return envelope.data

    def _hand_over(self, pieces: list[Piece]) -> None:
        if pieces:
            self._first = False
            self._sink.on_deltas(pieces)

    def _note_time(self, taken: int) -> None:
        now = time.perf_counter()
        if self._last_at and taken:
            self._inter_token_seconds.observe((now - self._last_at) / taken, taken)
        elif taken:
            self.first_token_at = now
        if taken:
            self._last_at = now

    def _fail(self, error: RequestError, tell_worker: bool) -> None:
        if self.on_failure is not None and self.on_failure(error, self._first):
            if tell_worker and self._handle is not None:
                self._handle.cancel()
            return
        self._finish(error, tell_worker)

    def _finish(self, error: RequestError | None, tell_worker: bool) -> None:
        self.ended = True
        if tell_worker and self._handle is not None:
            self._handle.cancel()
        self._sink.on_finish(self.usage(), error)

    def usage(self) -> Usage:
        """The counts so far."""
        reported = self._reported
        if self._usage_raw is not None:
            try:
                reported = decode_usage(self._usage_raw)
            except msgspec.MsgspecError as error:
                _log.warning("usage report of a worker cannot be read: %s", error)
        prompt = reported.prompt_tokens if reported is not None else self._prompt_tokens
        finished = any(choice.finished for choice in self._choices)
        return Usage(prompt, self.completion_tokens, finished, reported)
