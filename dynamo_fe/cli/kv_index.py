"""The prefix index of the processes that serve: where it lies, who keeps it, what is shown of it."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from dynamo_fe._cext.prefix_index import EVENTS
from dynamo_fe.cli.kv_shared import KvShared, by_kv_events
from dynamo_fe.config import Settings
from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.routing.kv.router import KvRouter
from dynamo_fe.routing.kv_events.memory import IndexMemory

# what cannot become of an event here
_STATUSES_OF_THEIR_INDEX: Final = ("allocation_failed", "indexer_invariant_violation", "ownership_degree_overflow")
_LABELS: Final = ("dynamo_component", "dynamo_namespace", "event_type", "status", "worker_id")


class _Heard:
    """The families that the original has for ZMQ alone."""

    def __init__(self, registry: MetricsRegistry) -> None:
        labels, name = ("dynamo_component", "dynamo_namespace", "worker_id"), "dynamo_component_router_kv_zmq_ingress"
        self._batches = registry.counter(f"{name}_batches_total", "Messages of KV events", labels, "max")
        self._sources = registry.gauge(f"{name}_sources", "Ranks that publish KV events", ("state", *labels), "max")

    def show(self, place: tuple[str, str, str], met: dict[str, int]) -> None:
        """What the consumer has met."""
        self._batches.labels(*place).set(met["batches"])
        self._sources.labels("active", *place).set(met["sources_live"])
        self._sources.labels("preconnected", *place).set(met["sources"] - met["sources_live"])


class KvIndex(NamedTuple):
    """`kept_here`: this process writes it as well, being the only one that serves."""

    memory: IndexMemory
    kept_here: bool


def kv_index(settings: Settings, shared: KvShared) -> KvIndex | None:
    """The index that this process routes by, None where there is none. Raises OSError, ConfigError as `kv_rules`."""
    if not by_kv_events(settings):
        return None
    if shared.index is not None:
        return KvIndex(shared.index, kept_here=False)
    return KvIndex(IndexMemory(settings.kv_index_mb << 20), kept_here=True)


def mirror_kv_index(registry: MetricsRegistry, memory: IndexMemory, router: KvRouter, by_zmq: bool) -> None:
    """Shows what the index holds and what became of events. All processes of a host see the same numbers.

    The label `worker_id` is the index's own id, as in the original it is the frontend's; component and namespace are
    those of the first pool, since one index serves all.
    """
    heard = _Heard(registry) if by_zmq else None
    applied = registry.counter(
        "dynamo_component_kv_cache_events_applied", "Total number of KV cache events applied to index", _LABELS, "max"
    )
    held = registry.gauge("dynamo_fe_kv_index", "The prefix index: counts and bytes", ("what",), "max")
    feed = registry.gauge("dynamo_fe_kv_event_feed", "The consumer of KV events, counts so far", ("what",), "max")
    partial = registry.counter("dynamo_fe_kv_index_partial_finds_total", "Looks that may have missed blocks").labels()
    reader, tally = memory.reader(), memory.tally()

    def refresh() -> None:
        partial.set(sum(pool.partial_finds for _, pool in router.pools()))
        key = next((key for key, _ in router.pools()), None)
        if key is not None:
            place = key.component, key.namespace
            for (event, status), count in reader.events().items():
                applied.labels(*place, event, status, memory.label).set(count)
            for labels in itertools.product(EVENTS, _STATUSES_OF_THEIR_INDEX):
                applied.labels(*place, *labels, memory.label)
            if heard is not None:
                heard.show((*place, memory.label), tally.values())
        for name, value in reader.stats().items():
            held.labels(name).set(value)
        for name, value in tally.values().items():
            feed.labels(name).set(value)

    registry.before_snapshot(refresh)
