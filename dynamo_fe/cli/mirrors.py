"""Gauges that show what other parts hold, set right before each scrape so that they cost nothing in between."""

from __future__ import annotations

import time
from typing import Final

from dynamo_fe.config.settings import Settings
from dynamo_fe.http.services import Services
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.availability import Availability
from dynamo_fe.pipeline.router_counts import RouterCounts
from dynamo_fe.pipeline.worker_load import WorkerLoads
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.routing.router import Router

# what must not grow without end, each with the setting that bounds it
_BOUNDS: Final = (
    "max_connections",
    "max_requests",
    "least_waiting",
    "tokenize_queue",
    "pool_connections",
    "pool_unacked_requests",
    "max_request_bytes",
    "max_frame_bytes",
    "stream_buffer_bytes",
    "body_limit_mb",
    "body_budget_mb",
    "body_values",
    "max_prompt_tokens",
    "kv_index_mb",
    "kv_decisions_mb",
)


def mirror_models(metrics: FrontendMetrics, registry: ModelRegistry, router: Router) -> None:
    """About models and workers: by primary name, served or not; numbers that a card leaves out are left out."""
    shown: set[str] = set()
    availability = Availability(registry, router)

    def refresh() -> None:
        announced = registry.announced()
        for name in shown - announced.keys():
            metrics.model_ready.labels(name).set(0)
        shown.update(announced)
        for name, (card, is_ready) in announced.items():
            metrics.model_ready.labels(name).set(is_ready and availability.is_servable(name))
            numbers = (
                (metrics.context_length, card.effective_context_length()),
                (metrics.block_size, card.kv_cache_block_size),
                (metrics.migration_limit, card.migration_limit),
                (metrics.total_kv_blocks, card.runtime_config.total_kv_blocks),
                (metrics.max_num_seqs, card.runtime_config.max_num_seqs),
                (metrics.max_num_batched_tokens, card.runtime_config.max_num_batched_tokens),
            )
            for gauge, number in numbers:
                if number is not None:
                    gauge.labels(name).set(number)
        metrics.set_aside.labels().set(len(router.left_out()))

    metrics.registry.before_snapshot(refresh)


def mirror_stores(services: Services, plane: RequestPlane, loads: WorkerLoads, pool: TokenizePool) -> None:
    """About everything that requests wait in or bytes are kept in, and the bounds of it."""
    metrics = services.metrics
    _show_bounds(metrics, services.settings)

    def refresh() -> None:
        lifetimes = services.lifetimes
        metrics.requests_in_hand.labels().set(len(lifetimes))
        metrics.admission_refusals.labels("requests").set(lifetimes.refused_total)
        metrics.admission_refusals.labels("workers").set(services.dispatcher.refused_total)
        metrics.admission_refusals.labels("tokenizer").set(pool.refused_total)
        metrics.worker_requests.labels("waiting").set(loads.waiting)
        metrics.worker_requests.labels("answering").set(loads.in_hand - loads.waiting)
        metrics.workers.inflight.labels().set(loads.in_hand)
        metrics.tokenizing.labels().set(pool.in_hand)
        stats = plane.stats()
        metrics.past_deadline.labels().set(lifetimes.past_deadline() + stats.pop("streams_past_deadline"))
        metrics.streams.labels().set(stats.pop("streams"))
        metrics.bytes_buffered.labels("workers").set(stats.pop("unwritten_bytes", 0))
        metrics.bytes_buffered.labels("clients").set(lifetimes.buffered_bytes())
        stats["errors_total"] = stats.get("errors_total", 0) + _misses(metrics, "ack")
        for what, counter in metrics.workers.transport.items():
            counter.labels().set(stats.pop(f"{what}_total", 0))
        for name, value in stats.items():
            metrics.plane.labels(name).set(value)

    metrics.registry.before_snapshot(refresh)


def _misses(metrics: FrontendMetrics, stage: str) -> int:
    """The requests that one of our timers ended in that stage."""
    return int(metrics.deadline_misses.snapshot().get(stage, [0])[0])


def mirror_process(metrics: FrontendMetrics, process_id: int) -> None:
    """About the serving process as such. What the original shows before it has counted anything is there at once."""
    for family in (metrics.disconnected, metrics.detokenized, metrics.detokenize_us):
        family.labels()
    uptime, begun = metrics.uptime.labels(f"{process_id:x}"), time.monotonic()
    metrics.registry.before_snapshot(lambda: uptime.set(time.monotonic() - begun))


def mirror_stages(services: Services, counts: RouterCounts, loads: WorkerLoads, pool: TokenizePool) -> None:
    """About the way of requests to workers: who is where on it, and what the workers' last ones showed.

    Between the stages nothing waits, so that all who are in one at a scrape are in something that is waited for.
    """
    gauge = services.metrics.workers.stage_requests
    preprocessing, routing, waiting = (
        gauge.labels(*labels) for labels in (("preprocess", ""), ("route", "aggregated"), ("dispatch", "aggregated"))
    )

    def refresh() -> None:
        preprocessing.set(pool.in_hand + services.preparer.rendering)
        routing.set(services.dispatcher.placing)
        waiting.set(loads.waiting)
        counts.show()

    services.metrics.registry.before_snapshot(refresh)


def mirror_events(metrics: FrontendMetrics, plane: EventPlane) -> None:
    """About what is heard and said on the event plane."""

    def refresh() -> None:
        for name, value in plane.stats().items():
            metrics.plane.labels(name).set(value)

    metrics.registry.before_snapshot(refresh)


def _show_bounds(metrics: FrontendMetrics, settings: Settings) -> None:
    for name in _BOUNDS:
        metrics.bounds.labels(name).set(getattr(settings, name))
