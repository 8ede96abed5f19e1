"""What the methods of one serving process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from dynamo_fe.config.settings import Settings
from dynamo_fe.grpc.statistics import Statistics
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.pipeline.availability import Availability
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.lifetimes import Lifetimes
from dynamo_fe.pipeline.prepare import Preparer
from dynamo_fe.protocol.openai import CompletionRequest


@dataclass(slots=True)
class KserveServices:
    """Built once by the composition root. `check` raises Refusal for settings of a completions request that are out of
    range. `stopping` is set when the process is to end: idle streams end, and nothing new is begun.
    """

    settings: Settings
    registry: ModelRegistry
    availability: Availability
    preparer: Preparer
    dispatcher: Dispatcher
    metrics: FrontendMetrics
    lifetimes: Lifetimes
    check: Callable[[CompletionRequest], None]
    ids: RandomIds = field(default_factory=RandomIds)
    statistics: Statistics = field(default_factory=Statistics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def strict(self) -> bool:
        """Whether everything is to be as in the original."""
        return self.settings.kserve_strict
