"""What the handlers of one serving process share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from dynamo_fe.config.settings import Settings
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.ops.sibling_metrics import SiblingMetrics
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.prepare import Preparer


@dataclass(slots=True)
class Services:
    """Built once by the composition root. `draining` is set when the process is to end: new requests are refused."""

    settings: Settings
    registry: ModelRegistry
    preparer: Preparer
    dispatcher: Dispatcher
    metrics: FrontendMetrics
    siblings: SiblingMetrics | None = None
    ids: RandomIds = field(default_factory=RandomIds)
    draining: bool = False
    requests_in_hand: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def note_idle(self) -> None:
        """Tells whoever drains that the last request has gone."""
        if self.draining and not self.requests_in_hand:
            self.idle.set()
