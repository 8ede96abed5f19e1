"""What the handlers of one serving process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dynamo_fe.config.settings import Settings
from dynamo_fe.http.client_metrics import mirror_clients
from dynamo_fe.http.connections import Connections, Limits
from dynamo_fe.http.event_stream import EventStream
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.intake import Intake
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.ops.alarms import Alarms
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.ops.sibling_metrics import SiblingMetrics
from dynamo_fe.pipeline.availability import Availability
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.lifetimes import Lifetimes
from dynamo_fe.pipeline.next_turn import NextTurns
from dynamo_fe.pipeline.prepare import Preparer
from dynamo_fe.protocol.kserve_rest import KserveRest
from dynamo_fe.routing.busy_thresholds import BusyThresholds
from dynamo_fe.routing.router import Router

# A worker is to be told within 100 ms that its client has gone; a request that is answered by then is not watched.
_WATCH_DELAY_SECS: Final = 0.06


@dataclass(slots=True)
class Services:
    """Built once by the composition root. `departing` is set when the service is to end: it is not ready any more, but
    serves. `draining` is set when that is over: new requests are refused.
    `leaving` is set when this process is to end, alone or with it: connections end with their answer. `kserve` makes,
    when it is first asked, what answers KServe's routes. `deafness` is why nothing is heard of workers beside their
    answers, empty where all is.
    """

    settings: Settings
    registry: ModelRegistry
    preparer: Preparer
    dispatcher: Dispatcher
    router: Router
    metrics: FrontendMetrics
    lifetimes: Lifetimes
    busy_thresholds: BusyThresholds
    siblings: SiblingMetrics | None = None
    kserve: Callable[[], KserveRest] | None = None
    deafness: Callable[[], list[str]] = list
    ids: RandomIds = field(default_factory=RandomIds)
    departing: bool = False
    draining: bool = False
    leaving: bool = False
    requests_in_hand: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    availability: Availability = field(init=False)
    next_turns: NextTurns = field(init=False)
    intake: Intake = field(init=False)
    connections: Connections = field(init=False)
    # whose client is asked for from then on, whose headers wait no more, who may have to break a silence
    disconnects: Alarms[Exchange] = field(init=False)
    peeks: Alarms[asyncio.Future[None]] = field(init=False)
    keep_alives: Alarms[EventStream] | None = field(init=False)

    def __post_init__(self) -> None:
        given = self.settings
        self.availability = Availability(self.registry, self.router)
        self.next_turns = NextTurns(self.preparer, self.dispatcher, self.ids)
        self.intake = Intake(
            given.body_limit_mb, given.body_budget_mb << 20, given.body_idle_timeout_secs, given.body_values
        )
        self.connections = Connections(
            Limits(given.head_idle_timeout_secs, given.keep_alive_timeout_secs, given.stalled_reader_timeout_secs),
            given.max_connections,
        )
        loop = asyncio.get_running_loop()
        self.disconnects = Alarms(loop, _WATCH_DELAY_SECS, Exchange.watch_disconnect)
        self.peeks = Alarms(loop, given.pre_commit_peek_ms / 1000, _resolve)
        silence_secs = given.sse_keep_alive_ms / 1000
        self.keep_alives = Alarms(loop, silence_secs, EventStream.keep_alive) if silence_secs else None
        mirror_clients(self.metrics.registry, self.intake, self.connections)

    def servable(self) -> dict[str, ServedModel]:
        """The models that a request would be served by now, by name: at least one worker is not set aside."""
        return self.availability.servable()

    def reasons(self) -> list[str]:
        """Why something is not served, or not as well as it could be, for an operator."""
        aside = self.availability.set_aside()
        reasons = [f"model {name}: every worker is set aside after a failure" for name in aside]
        return reasons + self.registry.reasons() + self.deafness()

    def note_idle(self) -> None:
        """Tells whoever drains that the last request has gone."""
        if self.leaving and not self.requests_in_hand:
            self.idle.set()


def _resolve(waited: asyncio.Future[None]) -> None:
    if not waited.done():
        waited.set_result(None)
