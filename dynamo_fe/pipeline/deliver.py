"""From the items of a worker to pieces of text: the token path.

Everything one socket read brought is handled in one call and handed on in one call; nothing here waits.
"""

from __future__ import annotations

import logging
import time

import msgspec

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.ops.model_series import ModelSeries
from dynamo_fe.pipeline.answer_reader import AnswerReader
from dynamo_fe.pipeline.choice import Choice, StopRules
from dynamo_fe.pipeline.delta import Delta, DeltaSink, Event, Piece, TokenLogprob, Usage
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker import CompletionUsage, FinishError, WorkerItem, decode_envelope, decode_usage

_log = logging.getLogger("dynamo_fe.pipeline")


class Delivery(WorkerStream):
    """The stream of a worker that answers tokens. `rich` asks for a Delta with the usage for every item, `detailed` for
    Deltas instead of bare text.
    """

    __slots__ = (
        "_all_told",
        "_choices",
        "_counts_reasoning",
        "_every",
        "_decode_secs",
        "_live",
        "_moved",
        "_logprobs_wanted",
        "_only",
        "_prompt_tokens",
        "_readers",
        "_reported",
        "_series",
        "_decodes_always",
        "_tokenizer",
        "_usage_raw",
    )

    def __init__(
        self,
        prepared: Prepared,
        sink: DeltaSink,
        series: ModelSeries,
        rich: bool,
        detailed: bool = False,
    ) -> None:
        super().__init__(sink)
        rules = StopRules(prepared.body)
        tokenizer = tokenizer_of(prepared.model)
        skip_special = prepared.body.output_options.skip_special_tokens is not False
        prompt = prepared.body.token_ids
        self._tokenizer: TextTokenizer = tokenizer
        self._choices = [Choice(tokenizer.decoder(skip_special, prompt), rules) for _ in range(prepared.choices)]
        plan = prepared.parse
        self._readers = None if plan is None or not plan.reads else [AnswerReader(plan) for _ in self._choices]
        self._counts_reasoning = plan is not None and plan.counts_reasoning
        self._logprobs_wanted = prepared.body.output_options.logprobs is not None
        self._every = rich
        self._all_told = rich or detailed
        self._decodes_always = rules.keep_stop
        plain = not (rich or detailed or self._logprobs_wanted) and prepared.choices == 1 and self._choices[0].plain
        self._only = self._choices[0] if plain else None
        self._live = prepared.choices
        self._prompt_tokens = prepared.prompt_tokens
        self._series = series
        self._usage_raw: bytes | None = None
        self._reported: CompletionUsage | None = None
        self._decode_secs = 0.0
        self._moved = False

    @property
    def answered(self) -> bool:
        """Whether every choice has come to its end, so that only the marker of the stream's end is missing."""
        return all(choice.finished or choice.ended for choice in self._choices)

    def move(self) -> None:
        """The rest comes from another worker, to which what came so far is a part of the prompt."""
        usage = self.usage()
        self._prompt_tokens, self._moved = usage.prompt_tokens, True

    def complete(self) -> None:
        """Ends the answer here as one that used up its tokens, unless it had its end already."""
        pieces: list[Piece] = []
        for index, choice in enumerate(self._choices):
            if not choice.finished and not choice.ended:
                text, reason, _ = choice.take([], "length")
                pieces.append(self._delta(index, text, reason, [], 0))
        self._hand_over(pieces)
        self._finish(None, tell_worker=True)

    @property
    def completion_tokens(self) -> int:
        """Tokens taken so far, over all choices."""
        return sum(choice.tokens for choice in self._choices)

    def on_items(self, items: list[OutputItem]) -> None:
        """Takes what one socket read brought, up to where the client's own stops have ended all choices."""
        if self.ended:
            return
        pieces: list[Piece] = []
        only = self._only
        reader = None if only is None or self._readers is None else self._readers[0]
        note, taken = self._note, 0
        begun = 0.0 if self.first_token_at else time.perf_counter()
        try:
            for item in items:
                ids = item.token_ids
                if note is not None:
                    note(ids)
                if (
                    only is None
                    or item.raw is not None
                    or item.finish_reason is not None
                    or item.index
                    or not only.hidden.isdisjoint(ids)
                ):
                    taken += self._take(item, pieces)
                    if not self._live:
                        break
                    only = self._only
                    continue
                if item.usage is not None:
                    self._usage_raw = item.usage
                only.tokens += len(ids)
                taken += len(ids)
                text = only.push(ids)
                if reader is not None and text and not reader.flows(text):
                    pieces.extend(reader.push(text, len(ids)))
                elif text:
                    pieces.append(text)
                if not only.started and not pieces:
                    pieces.append("")
                only.started = True
        except RequestError as error:
            error.first_event = self._first and not pieces
            self._tell(pieces, items, taken, begun)
            self._fail(error, tell_worker=True)
            return
        except Exception as error:
            self._break_off(error)
            return
        self._tell(pieces, items, taken, begun)
        if note is not None and self.received is not None and len(self.received) > self._most_received:
            self._outgrow()
        if not self._live and not self.ended:
            self._finish(self._unread_usage(), tell_worker=True)

    def _tell(self, pieces: list[Piece], items: list[OutputItem], taken: int, begun: float) -> None:
        self._note_time(items, taken, begun)
        if self.on_output is not None:
            for item in items:
                self.on_output(item.index, item.token_ids)
        self._hand_over(pieces)

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
            if rest or (not choice.finished and self._readers is not None and self._readers[index].unfinished()):
                pieces.append(self._delta(index, rest, choice.finish("stop"), [], 0))
        self._hand_over(pieces)
        self._finish(self._unread_usage(), tell_worker=False)

    def _take(self, item: OutputItem, pieces: list[Piece]) -> int:
        """One item with everything it may carry; returns its tokens. Raises RequestError for an error item."""
        if item.raw is not None:
            full = self._decoded(item.raw, self._first and not pieces)
            return 0 if full is None else self._take_full(full, pieces)
        if item.finish_reason == "error":
            raise _engine_error(item.finish_reason)
        if item.usage is not None:
            self._usage_raw = item.usage
            if item.finish_reason is not None or self._every:
                self._read_usage(item.usage)
        return self._show(item.index, item.token_ids, item.finish_reason, None, pieces)

    def _take_full(self, item: WorkerItem, pieces: list[Piece]) -> int:
        if self._note is not None:
            self._note(item.token_ids)
        if self.on_output is not None:
            self.on_output(item.index or 0, item.token_ids)
        if item.completion_usage is not None:
            self._reported, self._usage_raw = item.completion_usage, None
        finish = item.finish_reason
        if isinstance(finish, FinishError) or finish == "error":
            raise _engine_error(finish)
        return self._show(item.index or 0, item.token_ids, finish, item, pieces)

    def _show(
        self, index: int, token_ids: list[int], finish: str | None, item: WorkerItem | None, pieces: list[Piece]
    ) -> int:
        """`item` is given where there is more to it than tokens and finish reason."""
        if index >= len(self._choices):
            raise RequestError.protocol_error(f"item of choice {index} of a request for {len(self._choices)}")
        choice = self._choices[index]
        if choice.ended:
            return 0
        text = None if item is None or self._decodes_always else item.text
        verbatim = text is not None
        if text is None:
            text, reason, taken = choice.take(token_ids, finish)
        else:
            taken = len(token_ids)
            choice.tokens += taken
            choice.undecoded += taken
            reason = choice.finish(finish)
        delta = self._delta(index, text, reason, token_ids[:taken], taken)
        if item is not None:
            delta.verbatim = verbatim and delta.events is None
            self._add_details(delta, item)
            if choice.dropped and delta.logprobs:
                delta.logprobs[-1].dropped = True
        if choice.ended and choice.stopped_by is not None:
            delta.stop_reason = choice.stopped_by
        shown = (delta.text, delta.events, delta.finish_reason is not None, delta.logprobs is not None, delta.verbatim)
        if any(shown) or self._all_told or not choice.started:
            choice.started = True
            pieces.append(delta)
        if choice.ended:
            self._live -= 1
            self._only = None
        return taken

    def _delta(self, index: int, text: str, reason: str | None, shown: list[int], taken: int) -> Delta:
        events: list[Event] | None = None
        if self._readers is not None:
            reader = self._readers[index]
            events, text = reader.push(text, taken), ""
            if reason is not None:
                last, reason = reader.finish(reason)
                events += last
        delta = Delta(index, text, reason, self.completion_tokens, shown, events=events)
        if self._every:
            delta.usage = self.usage()
        return delta

    def _add_details(self, delta: Delta, item: WorkerItem) -> None:
        delta.engine_data = item.engine_data
        delta.stop_reason = item.stop_reason
        if self._logprobs_wanted and item.log_probs is not None:
            delta.logprobs = [] if delta.verbatim else self._token_logprobs(item, delta.token_ids)

    def _token_logprobs(self, item: WorkerItem, shown: list[int]) -> list[TokenLogprob]:
        tops, known = item.top_logprobs, item.log_probs or []
        return [
            TokenLogprob(
                token_id,
                known[at] if at < len(known) else None,
                tops[at] if tops is not None and at < len(tops) else None,
            )
            for at, token_id in enumerate(shown)
        ]

    def _unread_usage(self) -> RequestError | None:
        """The failure of an answer whose last usage report is none."""
        try:
            if self._usage_raw is not None:
                self._read_usage(self._usage_raw)
        except RequestError as error:
            error.first_event = True
            return error
        return None

    def _read_usage(self, raw: bytes) -> None:
        try:
            self._reported, self._usage_raw = decode_usage(raw), None
        except msgspec.MsgspecError as error:
            raise RequestError.protocol_error(f"usage cannot be read: {error}") from error

    def _decoded(self, raw: bytes, first: bool) -> WorkerItem | None:
        try:
            envelope = decode_envelope(raw, self.codec)
        except msgspec.MsgspecError as error:
            raise RequestError.protocol_error(f"item cannot be read: {error}") from error
        if envelope.event == "error":
            raise RequestError.from_wire(envelope.error, first)
        return envelope.data

    def _note_time(self, items: list[OutputItem], taken: int, begun: float) -> None:
        """`begun` is when these items were begun with, where none before them had a token."""
        if not taken:
            return
        now = time.perf_counter()
        if begun:
            self._note_first(items, taken, begun, now)
        else:
            self.last_gap_secs = gap = (now - self.last_token_at) / taken
            self._series.itl.observe(gap, taken)
        self.last_token_at = now
        if self.on_tokens is not None:
            self.on_tokens(taken)

    def _note_first(self, items: list[OutputItem], taken: int, begun: float, now: float) -> None:
        self.first_token_at = now
        self._decode_secs = (now - begun) / taken
        first = _tokens_of_first(items, taken)
        self._series.first_tokens += first
        if first < taken:
            # what came with one read has the distance that reading it has
            self.last_gap_secs = self._decode_secs
            self._series.itl.observe(self._decode_secs, taken - first)
        if self.on_first_token is not None:
            self.on_first_token()

    def usage(self) -> Usage:
        reported = self._reported
        if self._usage_raw is not None:
            try:
                reported = decode_usage(self._usage_raw)
            except msgspec.MsgspecError as error:
                _log.warning("request %s: the worker's usage report cannot be read: %s", self.request_id, error)
        prompt = self._prompt_tokens if reported is None or self._moved else reported.prompt_tokens
        finished = any(choice.finished for choice in self._choices)
        reasoning = None
        if self._counts_reasoning:
            reasoning = sum(reader.reasoning_tokens for reader in self._readers or ())
        return Usage(prompt, self.completion_tokens, finished, reported, reasoning)

    def _let_go(self, tell_worker: bool) -> None:
        if self._decode_secs:
            secs, self._decode_secs = self._decode_secs, 0.0
            undecoded = sum(choice.undecoded for choice in self._choices)
            self._series.decoded(self.completion_tokens - undecoded, secs)
        super()._let_go(tell_worker)


def _tokens_of_first(items: list[OutputItem], taken: int) -> int:
    """The tokens of the first item that had any, of a read of which `taken` were taken."""
    for item in items:
        if item.raw is not None:
            # read already, and not known here
            return taken
        if item.token_ids:
            return min(len(item.token_ids), taken)
    return taken


def _engine_error(finish: FinishError | str) -> RequestError:
    """The finish reason that says that the engine failed; its text is for operators."""
    detail = finish.error if isinstance(finish, FinishError) else "the engine reported an error"
    return RequestError("Internal", "runtime.unclassified", detail, origin="worker")
