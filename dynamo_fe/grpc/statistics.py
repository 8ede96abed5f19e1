"""How many KServe requests each model has answered and failed in this process, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dynamo_fe.grpc.completion_answer import VERSION
from dynamo_fe.grpc.messages import ModelStatisticsResponse


@dataclass(slots=True)
class Tally:
    """Requests of one outcome."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """One more, that took so many nanoseconds."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class ModelTally:
    """`last_ms`: when the last one ended, milliseconds since the epoch."""

    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    last_ms: int = 0


class Statistics:
    """By the names that requests were made for; only names of models get here."""

    def __init__(self) -> None:
        self._models: dict[str, ModelTally] = {}

    def note(self, model: str, succeeded: bool, seconds: float) -> None:
        """A request has ended."""
        tally = self._models.setdefault(model, ModelTally())
        (tally.success if succeeded else tally.fail).add(int(seconds * 1e9))
        tally.last_ms = time.time_ns() // 1_000_000

    def answer(self, names: Iterable[str]) -> Any:
        """A `ModelStatisticsResponse` about these models."""
        response = ModelStatisticsResponse()
        for name in names:
            tally = self._models.get(name, ModelTally())
            target = response.model_stats.add(name=name, version=VERSION, last_inference=tally.last_ms)
            target.inference_count = target.execution_count = tally.success.count
            stats = target.inference_stats
            for outcome, counted in ((stats.success, tally.success), (stats.fail, tally.fail)):
                outcome.count, outcome.ns = counted.count, counted.ns
        return response
