"""What is counted of worker requests whichever mode chose their workers: by component, and the last of each worker.

Source of what counts when: the metrics page of the original's frontend, release 1.6.1.
"""

from __future__ import annotations

from typing import NamedTuple

from dynamo_fe.ops.metrics import Histogram, Value
from dynamo_fe.ops.worker_metrics import WorkerMetrics
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.instance import Instance

# one class of workers in this version: the original counts aggregated ones as decode
_WORKER_TYPE = "decode"
_PHASE = "aggregated"


class _Series(NamedTuple):
    started: Value
    finished: Value
    input_tokens: Histogram
    ttft: Histogram
    itl: Histogram
    output_tokens: Histogram


class LastRequest:
    """What the last request of a worker's rank showed, seconds and tokens; None what none has shown yet."""

    __slots__ = ("input_tokens", "itl_secs", "ttft_secs")

    def __init__(self) -> None:
        self.ttft_secs: float | None = None
        self.input_tokens: int | None = None
        self.itl_secs: float | None = None


class Visit:
    """One request on one worker. `received_at` is when its client's request came, `before` what came of its answer from
    other workers, tokens. Where the rank was chosen the distance of tokens is not counted, as in the original.
    """

    __slots__ = ("_before", "_input_tokens", "_last", "_chosen", "_received_at", "_series")

    def __init__(
        self, series: _Series, last: LastRequest, input_tokens: int, received_at: float, before: int, *, chosen: bool
    ) -> None:
        self._series = series
        self._last = last
        self._input_tokens = input_tokens
        self._received_at = received_at
        self._before = before
        self._chosen = chosen
        series.started.value += 1
        series.input_tokens.observe(input_tokens)

    def first_token(self, now: float) -> None:
        """The first token of the answer came from this worker."""
        last = self._last
        last.ttft_secs = secs = now - self._received_at
        last.input_tokens = self._input_tokens
        self._series.ttft.observe(secs)

    def over(self, answer: WorkerStream) -> None:
        """The worker is done with it."""
        series = self._series
        series.finished.value += 1
        tokens = answer.completion_tokens - self._before
        if tokens > 0:
            series.output_tokens.observe(tokens)
            if answer.last_gap_secs:
                self._last.itl_secs = answer.last_gap_secs
            if tokens > 1 and not self._chosen:
                series.itl.observe((answer.last_token_at - answer.first_token_at) / (tokens - 1))


class RouterCounts:
    """`process_id` names this process as in the labels of its other families."""

    def __init__(self, metrics: WorkerMetrics, process_id: int) -> None:
        self._metrics = metrics
        self._ids = (str(process_id), f"{process_id:x}")
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._last: dict[int, dict[int | None, LastRequest]] = {}

    def visit(
        self,
        instance: Instance,
        dp_rank: int | None,
        model: str,
        input_tokens: int,
        received_at: float,
        before: int,
        *,
        chosen: bool,
    ) -> Visit:
        """A request goes to that worker's rank, None where there is no word of ranks; `chosen` by KV routing."""
        place = (instance.namespace, instance.component, model)
        series = self._series.get(place) or self._make(place)
        ranks = self._last.get(instance.instance_id)
        if ranks is None:
            ranks = self._last[instance.instance_id] = {}
        last = ranks.get(dp_rank)
        if last is None:
            last = ranks[dp_rank] = LastRequest()
        return Visit(series, last, input_tokens, received_at, before, chosen=chosen)

    def forget(self, instance_id: int) -> None:
        """The worker is gone."""
        metrics = self._metrics
        for dp_rank in self._last.pop(instance_id, ()):
            for family in (metrics.last_ttft, metrics.last_input, metrics.last_itl):
                family.forget(*_rank(instance_id, dp_rank))

    def show(self) -> None:
        """Sets the gauges of the last requests."""
        metrics = self._metrics
        for instance_id, ranks in self._last.items():
            for dp_rank, last in ranks.items():
                labels = _rank(instance_id, dp_rank)
                for family, number in (
                    (metrics.last_ttft, last.ttft_secs),
                    (metrics.last_input, last.input_tokens),
                    (metrics.last_itl, last.itl_secs),
                ):
                    if number is not None:
                        family.labels(*labels).set(number)

    def _make(self, place: tuple[str, str, str]) -> _Series:
        namespace, component, model = place
        metrics, labels = self._metrics, (namespace, component, *self._ids)
        series = self._series[place] = _Series(
            metrics.router_started.labels(*labels),
            metrics.router_finished.labels(*labels),
            metrics.router_input.labels(*labels, model, _PHASE),
            metrics.router_ttft.labels(*labels),
            metrics.router_itl.labels(*labels),
            metrics.router_output.labels(*labels),
        )
        return series


def _rank(instance_id: int, dp_rank: int | None) -> tuple[str, str, str]:
    return str(instance_id), "none" if dp_rank is None else str(dp_rank), _WORKER_TYPE
