"""Counts KServe requests in the original's metrics, where it counts them otherwise than those over HTTP."""

from __future__ import annotations

import time
from typing import Final

from dynamo_fe.grpc.choosing import COMPLETIONS, TENSOR
from dynamo_fe.grpc.statistics import Statistics
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.protocol.errors import RequestError

_ENDPOINTS: Final = {COMPLETIONS: "completions", TENSOR: "tensor"}
# only the counter of cancellations has a name of its own for completions
_CANCELLED: Final = {COMPLETIONS: "grpc_completions", TENSOR: "tensor"}


class KserveMeter(Meter):
    """One request to a worker. Nothing is counted for what is refused before."""

    __slots__ = ("_statistics",)

    def __init__(
        self, metrics: FrontendMetrics, statistics: Statistics, model: str, kind: str, streaming: bool
    ) -> None:
        super().__init__(metrics, model, _ENDPOINTS[kind], streaming, cancelled_as=_CANCELLED[kind])
        self._statistics = statistics

    def worker_failed(self, error: RequestError | None) -> None:
        """A unary call got an error, or something that is no answer: counted as a cancellation too."""
        self._end_with("internal")
        self._count_cancellation()
        if error is not None:
            self._metrics.failures.labels(error.error_class, error.reason).add()

    def succeeded(self) -> None:
        """The whole answer went out."""
        self._note(success=True)
        super().succeeded()

    def _end_with(self, error_type: str) -> None:
        self._note(success=False)
        super()._end_with(error_type)

    def _note(self, *, success: bool) -> None:
        if not self._ended:
            self._statistics.note(self.model, success, time.perf_counter() - self.started)


def count_unavailable(metrics: FrontendMetrics, model: str, kind: str, streaming: bool) -> None:
    """A request for a model that no worker serves now."""
    metrics.cancellations.labels(model, _CANCELLED[kind], _request_type(streaming)).add()


def count_overload(metrics: FrontendMetrics, model: str, kind: str) -> None:
    """A request that was not let in because a bound is reached."""
    metrics.rejections.labels(model, _ENDPOINTS[kind]).add()


def _request_type(streaming: bool) -> str:
    return "stream" if streaming else "unary"
