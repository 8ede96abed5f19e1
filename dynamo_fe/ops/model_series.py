"""What the requests of one model count in, found once: a look-up by labels costs 0.13 µs, a request makes twenty."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from dynamo_fe.ops.metrics import Histogram, Value

if TYPE_CHECKING:
    from dynamo_fe.ops.frontend_metrics import FrontendMetrics


class ModelSeries:
    """A series appears with its first use, as everywhere.

    `without_media` are requests that showed nothing but text, `first_tokens` the tokens of first items: both are told
    to their families when those are read.
    """

    def __init__(self, metrics: FrontendMetrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self.active = metrics.active.labels(model)
        self.queued = metrics.queued.labels(model)
        self.without_media = 0
        self.first_tokens = 0

    @cached_property
    def duration(self) -> Histogram:
        """Seconds of whole requests."""
        return self._metrics.duration.labels(self._model)

    @cached_property
    def ttft(self) -> Histogram:
        """Seconds to the first token."""
        return self._metrics.ttft.labels(self._model)

    @cached_property
    def itl(self) -> Histogram:
        """Seconds between tokens."""
        return self._metrics.itl.labels(self._model)

    @cached_property
    def input_tokens(self) -> Histogram:
        """Lengths of prompts."""
        return self._metrics.input_tokens.labels(self._model)

    @cached_property
    def output_tokens(self) -> Histogram:
        """Lengths of answers."""
        return self._metrics.output_tokens.labels(self._model)

    @cached_property
    def cached_tokens(self) -> Histogram:
        """Prompt tokens that workers had."""
        return self._metrics.cached_tokens.labels(self._model)

    @cached_property
    def media(self) -> tuple[Histogram, Histogram, Histogram]:
        """Images, videos, sounds."""
        metrics = self._metrics
        # shown beside the others, though a request need not count there
        metrics.image_tokens.labels(self._model)
        return tuple(family.labels(self._model) for family in (metrics.images, metrics.videos, metrics.audio))  # type: ignore[return-value]

    @cached_property
    def image_tokens(self) -> Histogram:
        """Tokens that the images of a request become, where that is known."""
        return self._metrics.image_tokens.labels(self._model)

    def decoded(self, tokens: int, secs: float) -> None:
        """An answer of so many tokens of which text was made, at so many seconds each."""
        if tokens:
            metrics = self._metrics
            metrics.detokenized.labels().value += tokens
            metrics.detokenize_us.labels().value += secs * tokens * 1e6
            metrics.tokenizer_latency_ms.labels("detokenize").observe(secs * 1000)

    def settle(self) -> None:
        """Tells the families what is told them late."""
        self._metrics.inflight.labels(self._model).set(self.active.value)
        if self.without_media:
            for histogram in self.media:
                histogram.observe(0, self.without_media)
            self.without_media = 0
        if self.first_tokens:
            # every token is one of a first item or has a distance from the one before
            self._metrics.output_tokens_total.labels(self._model).set(self.first_tokens + self.itl.count)


class RequestSeries:
    """The same of one model, endpoint and request type."""

    def __init__(self, metrics: FrontendMetrics, model: str, endpoint: str, request_type: str) -> None:
        self._metrics = metrics
        self._labels = (model, endpoint, request_type)
        self.of_model = metrics.of_model(model)
        self.started: Value = metrics.requests_started.labels(*self._labels)

    @cached_property
    def succeeded(self) -> Value:
        """Requests whose whole answer went out."""
        return self._metrics.requests.labels(*self._labels, "success", "")

    def failed(self, error_type: str) -> Value:
        """Requests that ended with this error."""
        return self._metrics.requests.labels(*self._labels, "error", error_type)
