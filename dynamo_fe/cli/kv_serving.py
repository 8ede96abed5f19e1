"""KV routing in a serving process: made from the settings, run beside the registry that it follows."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from dynamo_fe.cli.indexing import indexing
from dynamo_fe.cli.kv_decisions import mirror_decisions
from dynamo_fe.cli.kv_index import KvIndex, mirror_kv_index
from dynamo_fe.cli.kv_rules import kv_rules
from dynamo_fe.cli.kv_shared import KvShared, in_kv_mode
from dynamo_fe.cli.mirrors import mirror_events
from dynamo_fe.config import Settings
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.http.services import Services
from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.event.factory import open_event_plane
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.routing.busy_thresholds import BusyThresholds
from dynamo_fe.routing.kv.decisions import Decisions
from dynamo_fe.routing.kv.metrics import RouterMetrics
from dynamo_fe.routing.kv.router import KvRouter, Shared
from dynamo_fe.routing.kv.topics import KvTopics

# A choice takes what workers have said of their blocks by itself: nothing else of theirs is waited for, and a turn that
# finds everything cold costs 50 us.
_PATIENCE_SECS: Final = 0.1


@dataclass(frozen=True, slots=True)
class KvPlace:
    """What this process has of what is shared: `seat` is its part of the loads, `index` what it routes by."""

    shared: KvShared
    seat: int
    index: KvIndex | None


def make_kv_router(
    settings: Settings, place: KvPlace, metrics: MetricsRegistry, thresholds: BusyThresholds, router_id: int
) -> KvRouter | None:
    """None where the settings name another mode; `router_id` names this process. Raises ConfigError as `kv_rules`."""
    index = place.index
    if not in_kv_mode(settings):
        return None
    rules = kv_rules(settings)
    log = place.shared.decisions
    decisions = Decisions(log, place.seat) if log is not None and rules.guesses else None
    reader = None if index is None else index.memory.reader()
    parts = Shared(place.shared.loads, place.seat, reader, decisions, place.shared.sessions)
    policies = (rules.approximate_policy, rules.approximate_policy if rules.wants_overlaps else "disabled")
    shown = RouterMetrics(metrics, settings.metrics_prefix, router_id, policies)
    router = KvRouter(rules, parts, router_id, thresholds, shown)
    if index is not None:
        mirror_kv_index(metrics, index.memory, router, by_zmq=settings.event_plane != "nats")
    if decisions is not None:
        mirror_decisions(metrics, decisions, router)
    return router


@contextlib.asynccontextmanager
async def running(
    services: Services, index: KvIndex | None, discovery: Discovery, requests: RequestPlane
) -> AsyncIterator[None]:
    """Entered once discovery and `requests` have started. Raises ValueError for an event plane that can never work."""
    router, settings = services.dispatcher.kv, services.settings
    if router is None:
        yield
        return
    plane = open_event_plane(settings, Records(discovery), None if router.rules.hears_peers else _PATIENCE_SECS)
    await plane.start()
    mirror_events(services.metrics, plane)
    services.deafness = functools.partial(_deafness, plane, "KV events" if index is not None else "events of workers")
    topics = KvTopics(plane, router)
    router.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if index is not None and index.kept_here:
                consumer = await stack.enter_async_context(indexing(settings, index.memory, discovery, requests, plane))
                router.catch_up = consumer.take_now
            yield
    finally:
        services.deafness = list
        router.close()
        await topics.close()
        await plane.close()


def _deafness(plane: EventPlane, what: str) -> list[str]:
    return [f"{what}: {reason}; requests are routed by what was known before" for reason in plane.reasons()]
