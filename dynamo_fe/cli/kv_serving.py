"""KV routing in a serving process: made from the settings, run beside the registry that it follows."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

from dynamo_fe.cli.kv_rules import kv_rules
from dynamo_fe.cli.kv_shared import KvShared, in_kv_mode
from dynamo_fe.config import Settings
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.planes.event.factory import open_event_plane
from dynamo_fe.routing.busy_thresholds import BusyThreshold
from dynamo_fe.routing.kv.metrics import RouterMetrics
from dynamo_fe.routing.kv.router import KvRouter, Shared
from dynamo_fe.routing.kv.topics import KvTopics

# whole in every JSON reader, like the ids of publishers
_ROUTER_ID_BITS = 53


def make_kv_router(
    settings: Settings,
    shared: KvShared,
    seat: int,
    metrics: MetricsRegistry,
    busy: Callable[[str], BusyThreshold],
) -> KvRouter | None:
    """None where the settings name another mode. `seat` is this process's part of what is shared. Raises ConfigError as
    `kv_rules`.
    """
    if not in_kv_mode(settings):
        return None
    rules = kv_rules(settings)
    router_id = secrets.randbits(_ROUTER_ID_BITS) | 1
    parts = Shared(shared.loads, seat, None)
    return KvRouter(rules, parts, router_id, busy, RouterMetrics(metrics, settings.metrics_prefix, router_id))


@contextlib.asynccontextmanager
async def running(router: KvRouter | None, settings: Settings, discovery: Discovery) -> AsyncIterator[None]:
    """Entered once discovery has started. Raises ValueError for an event plane that can never work."""
    if router is None:
        yield
        return
    plane = open_event_plane(settings, Records(discovery))
    await plane.start()
    topics = KvTopics(plane, router)
    router.start()
    try:
        yield
    finally:
        router.close()
        await topics.close()
        await plane.close()
