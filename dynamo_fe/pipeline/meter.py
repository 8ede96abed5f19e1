"""Counts one inference request from its parsed body to its end, in the original's metrics."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.delta import Usage
from dynamo_fe.protocol.error_table import counted_as
from dynamo_fe.protocol.errors import RequestError

UNKNOWN_MODEL = "unknown_model"
_ERROR_TYPES = {
    "InvalidRequest": "validation",
    "NotFound": "not_found",
    "CapacityExhausted": "overload",
    "RateLimited": "overload",
    "Unavailable": "unavailable",
    "Cancelled": "cancelled",
    "DeadlineExceeded": "response_timeout",
    "NotImplemented": "not_implemented",
}

# in the order of the series
_MEDIA: Final = ("image_url", "video_url", "audio_url")
# the label says up to how many tokens a prompt has
_PROMPT_EDGES: Final = (128, 1024, 8192, 65536)
_PROMPT_LABELS: Final = (*(f"<={edge}" for edge in _PROMPT_EDGES), f">{_PROMPT_EDGES[-1]}")


class Meter:
    """One request. `model` is a served name or UNKNOWN_MODEL: what a client invents never becomes a label.

    `cancelled_as` is the endpoint's name in the counter of cancellations, where it has another one there. `whole`: all
    of the answer has gone out.
    """

    __slots__ = (
        "_cancelled_as",
        "_ended",
        "_endpoint",
        "_in_hand_at",
        "_metrics",
        "_prompt_tokens",
        "_queued",
        "_request_type",
        "_series",
        "model",
        "of_model",
        "started",
        "whole",
    )

    def __init__(
        self,
        metrics: FrontendMetrics,
        model: str,
        endpoint: str,
        streaming: bool,
        *,
        cancelled_as: str | None = None,
    ) -> None:
        self._metrics = metrics
        self.model = model
        self._endpoint = endpoint
        self._request_type = "stream" if streaming else "unary"
        self._cancelled_as = cancelled_as or endpoint
        self.started = time.perf_counter()
        self._ended = self.whole = False
        self._queued = True
        self._in_hand_at = 0.0
        self._prompt_tokens = 0
        self._series = series = metrics.of_request(model, endpoint, self._request_type)
        self.of_model = of_model = series.of_model
        series.started.value += 1
        of_model.active.value += 1
        of_model.queued.value += 1

    def withdraw(self) -> None:
        """Takes the request out of all counts but that of failures. Nothing may have been awaited since it began, so
        that nobody has seen it there.
        """
        self._ended = True
        self._leave_queue()
        self.of_model.active.value -= 1
        self._series.started.value -= 1

    def first_item(
        self,
        prompt_tokens: int,
        tokenize_secs: float,
        data: Mapping[str, Sequence[object]] | None,
        picture_tokens: int | None = None,
    ) -> None:
        """The first of the answer has come. `data` is what the request shows beside its text, by the kind that its
        worker is told, None for a worker that is told nothing of it; `picture_tokens` is what its pictures become where
        that is known; `tokenize_secs` is 0 for a prompt of tokens.
        """
        self._in_hand_at = time.perf_counter()
        self._prompt_tokens = prompt_tokens
        if tokenize_secs:
            self._metrics.tokenizer_latency_ms.labels("tokenize").observe(tokenize_secs * 1000)
        if data:
            for histogram, kind in zip(self.of_model.media, _MEDIA, strict=True):
                histogram.observe(len(data.get(kind, ())))
            if picture_tokens is not None:
                self.of_model.image_tokens.observe(picture_tokens)
        elif data is not None:
            self.of_model.without_media += 1

    def first_token(self, prompt_tokens: int) -> None:
        """The first token has come; only the first call counts."""
        if not self._queued:
            return
        self._leave_queue()
        self.of_model.ttft.observe(time.perf_counter() - self.started)
        self.of_model.input_tokens.observe(prompt_tokens)

    def collected(self) -> None:
        """All of an answer that goes out as one has come."""
        self._in_hand_at = time.perf_counter()

    def shown(self, sent_secs: float) -> None:
        """The answer has begun to go out; only the first call counts. `sent_secs` of ours went by until the request was
        sent to a worker.
        """
        if self._in_hand_at:
            spent_secs = sent_secs + time.perf_counter() - self._in_hand_at
            self._in_hand_at = 0.0
            label = _PROMPT_LABELS[bisect_left(_PROMPT_EDGES, self._prompt_tokens)]
            self._metrics.overhead.labels(label).observe(spent_secs)

    def answered(self, usage: Usage) -> None:
        """One worker request has ended with this usage."""
        if usage.completion_tokens:
            self.of_model.output_tokens.observe(usage.completion_tokens)
        details = usage.reported.prompt_tokens_details if usage.reported is not None else None
        if details is not None and details.cached_tokens is not None:
            self.of_model.cached_tokens.observe(details.cached_tokens)

    def succeeded(self) -> None:
        """The whole answer went out."""
        if self._end():
            self.whole = True
            self._series.succeeded.value += 1

    def failed(self, error: RequestError, first_event: bool = False) -> None:
        """The request ended with an error; `first_event`: it is answered as the first event of a request is."""
        # only a time limit of ours, or a status that says so, is a timeout there
        told = error.error_class == "DeadlineExceeded" and error.origin == "worker" and error.backend_status is None
        self._end_with("internal" if told else _ERROR_TYPES.get(error.error_class, "internal"))
        self._metrics.failures.labels(*counted_as(error, first_event)).add()
        if error.error_class == "CapacityExhausted" and error.backend_status is None:
            self._metrics.rejections.labels(self.model, self._endpoint).add()

    def client_left(self) -> None:
        """The client closed before the end."""
        if not self._ended:
            self._end_with("cancelled")
            self._count_cancellation()

    def _count_cancellation(self) -> None:
        self._metrics.cancellations.labels(self.model, self._cancelled_as, self._request_type).add()
        self._metrics.disconnected.labels().add()

    def _leave_queue(self) -> None:
        self._queued = False
        self.of_model.queued.value -= 1

    def _end_with(self, error_type: str) -> None:
        if self._end():
            self._series.failed(error_type).add()

    def _end(self) -> bool:
        """False where it had ended already."""
        if self._ended:
            return False
        self._ended = True
        if self._queued:
            self._leave_queue()
        of_model = self.of_model
        of_model.active.value -= 1
        of_model.duration.observe(time.perf_counter() - self.started)
        return True
