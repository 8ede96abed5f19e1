"""What is counted of requests that ask for a rank, by policy class: names and labels of Dynamo 1.6.1.

Every series is there from the time on when its model is served, at 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from dynamo_fe.ops.metrics import MetricsRegistry, Value
from dynamo_fe.routing.kv.pool import Pool
from dynamo_fe.routing.kv.rules import PolicyClass, PolicyProfile

# one class of workers in this version: the original counts aggregated ones as decode
_WORKER_TYPE: Final = "decode"
# by the limit as QueueFull names it
_REASONS: Final = {
    "requests": "request_limit",
    "raw_isl_tokens": "raw_isl_token_limit",
    "cached_tokens": "cached_token_limit",
}
# of an admission by predicted times, which no option of the original turns on
_PREDICTED: Final = ("due_time_passed", "predicted_miss")


class _Line(NamedTuple):
    """What one class of a model counts in; `pending` are requests, prompt tokens, cached tokens."""

    received: Value
    pending: tuple[Value, ...]
    refused: dict[str, Value]


class LineMetrics:
    """The families of one process; `prefix` begins their names."""

    def __init__(self, registry: MetricsRegistry, prefix: str) -> None:
        line = ("model", "policy_class", "worker_type")
        reason = ("model", "policy_class", "reason", "worker_type")
        self._pending = tuple(
            registry.gauge(f"{prefix}_router_queue_pending_{what}", f"Of waiting requests: {what}", line)
            for what in ("requests", "isl_tokens", "cached_tokens")
        )
        self._received = registry.counter(
            f"{prefix}_router_admission_received_total", "Requests that asked for a rank", line
        )
        self._refused = registry.counter(
            f"{prefix}_router_queue_backpressure_total", "Requests refused by a limit of the queue", reason
        )
        self._rejected = registry.counter(
            f"{prefix}_router_admission_rejected_total", "Requests refused for the time they would take", reason
        )
        self._lines: dict[tuple[str, str], _Line] = {}

    def served(self, model: str, profile: PolicyProfile) -> None:
        """Requests for this model may come from now on."""
        for policy in profile.classes:
            self._line(model, policy)

    def received(self, model: str, policy: PolicyClass) -> None:
        """A request asks for a rank."""
        self._line(model, policy).received.value += 1

    def refused(self, model: str, policy: PolicyClass, limit: str) -> None:
        """A limit of the queue is reached."""
        self._line(model, policy).refused[limit].value += 1

    def mirror(self, pools: Iterable[Pool[Any]]) -> None:
        """Shows who waits in these pools."""
        for pool in pools:
            for policy, *numbers in pool.waiting.pending():
                for gauge, number in zip(self._line(pool.model, policy).pending, numbers, strict=True):
                    gauge.set(number)

    def _line(self, model: str, policy: PolicyClass) -> _Line:
        return self._lines.get((model, policy.name)) or self._make(model, policy.name)

    def _make(self, model: str, policy: str) -> _Line:
        for reason in _PREDICTED:
            self._rejected.labels(model, policy, reason, _WORKER_TYPE)
        line = self._lines[model, policy] = _Line(
            self._received.labels(model, policy, _WORKER_TYPE),
            tuple(gauge.labels(model, policy, _WORKER_TYPE) for gauge in self._pending),
            {limit: self._refused.labels(model, policy, reason, _WORKER_TYPE) for limit, reason in _REASONS.items()},
        )
        return line
