"""Counts one inference request from its parsed body to its end, in the original's metrics."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.delta import Usage
from dynamo_fe.pipeline.refusal import Refusal
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

# the label says up to how many tokens a prompt has
_PROMPT_EDGES: Final = (128, 1024, 8192, 65536)
_PROMPT_LABELS: Final = (*(f"<={edge}" for edge in _PROMPT_EDGES), f">{_PROMPT_EDGES[-1]}")


class Meter:
    """One request. `model` is a served name or UNKNOWN_MODEL: what a client invents never becomes a label.

    `cancelled_as` is the endpoint's name in the counter of cancellations, where it has another one there.
    """

    __slots__ = (
        "_cancelled_as",
        "_ended",
        "_in_hand_at",
        "_labels",
        "_metrics",
        "_prompt_tokens",
        "_queued",
        "model",
        "started",
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
        self._labels = (model, endpoint, "stream" if streaming else "unary")
        self._cancelled_as = (model, cancelled_as or endpoint, self._labels[2])
        self.started = time.perf_counter()
        self._ended = False
        self._queued = True
        self._in_hand_at = 0.0
        self._prompt_tokens = 0
        metrics.requests_started.labels(*self._labels).add()
        metrics.active.labels(model).add()
        metrics.inflight.labels(model).add()
        metrics.queued.labels(model).add()

    def withdraw(self) -> None:
        """Takes the request out of all counts but that of failures. Nothing may have been awaited since it began, so
        that nobody has seen it there.
        """
        self._ended = True
        self._leave_queue()
        self._leave()
        self._metrics.requests_started.labels(*self._labels).add(-1)

    def first_token(self, prompt_tokens: int) -> None:
        """The first item has come; only the first call counts."""
        if not self._queued:
            return
        self._leave_queue()
        self._in_hand_at = now = time.perf_counter()
        self._prompt_tokens = prompt_tokens
        self._metrics.ttft.labels(self.model).observe(now - self.started)
        self._metrics.input_tokens.labels(self.model).observe(prompt_tokens)

    def first_media(self, data: Mapping[str, Sequence[object]]) -> None:
        """What the request shows beside its text, by the kind that its worker is told, once its first item has come."""
        self._metrics.images.labels(self.model).observe(len(data.get("image_url", ())))
        self._metrics.videos.labels(self.model).observe(len(data.get("video_url", ())))
        self._metrics.audio.labels(self.model).observe(len(data.get("audio_url", ())))

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
            self._metrics.output_tokens.labels(self.model).observe(usage.completion_tokens)
            self._metrics.output_tokens_total.labels(self.model).add(usage.completion_tokens)
        details = usage.reported.prompt_tokens_details if usage.reported is not None else None
        if details is not None and details.cached_tokens is not None:
            self._metrics.cached_tokens.labels(self.model).observe(details.cached_tokens)

    def succeeded(self) -> None:
        """The whole answer went out."""
        self._end("success", "")

    def failed(self, error: RequestError) -> None:
        """The request ended with an error."""
        self._end("error", _ERROR_TYPES.get(error.error_class, "internal"))
        self._metrics.failures.labels(error.error_class, error.reason).add()
        if error.error_class == "CapacityExhausted" and not isinstance(error, Refusal):
            self._metrics.rejections.labels(self.model, self._labels[1]).add()

    def client_left(self) -> None:
        """The client closed before the end."""
        if not self._ended:
            self._end("error", "cancelled")
            self._count_cancellation()

    def _count_cancellation(self) -> None:
        self._metrics.cancellations.labels(*self._cancelled_as).add()
        self._metrics.disconnected.labels().add()

    def _leave(self) -> None:
        self._metrics.active.labels(self.model).add(-1)
        self._metrics.inflight.labels(self.model).add(-1)

    def _leave_queue(self) -> None:
        self._queued = False
        self._metrics.queued.labels(self.model).add(-1)

    def _end(self, status: str, error_type: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._queued:
            self._leave_queue()
        self._leave()
        self._metrics.requests.labels(*self._labels, status, error_type).add()
        self._metrics.duration.labels(self.model).observe(time.perf_counter() - self.started)
