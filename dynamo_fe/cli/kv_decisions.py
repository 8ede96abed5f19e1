"""What is shown of the decisions that the processes of a host tell each other."""

from __future__ import annotations

from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.routing.kv.decisions import Decisions
from dynamo_fe.routing.kv.router import KvRouter


def mirror_decisions(registry: MetricsRegistry, decisions: Decisions, router: KvRouter) -> None:
    """Counts of all processes together; what they remember is nearly the same in each, the most is shown."""
    counts = registry.counter("dynamo_fe_kv_decisions_total", "Decisions told, heard and lost unheard", ("what",))
    held = registry.gauge("dynamo_fe_kv_decisions", "What decisions are remembered: counts and bytes", ("what",), "max")
    # of all rings, and of what a process remembers for one endpoint
    held.labels("budget_bytes").set(decisions.log.budget_bytes)

    def refresh() -> None:
        for what in ("told", "heard", "lost"):
            counts.labels(what).set(getattr(decisions, f"{what}_total"))
        indexes = [pool.approximate for _, pool in router.pools() if pool.approximate is not None]
        held.labels("evicted_blocks").set(sum(index.evicted_total for index in indexes))
        held.labels("leases").set(sum(index.leases for index in indexes))
        held.labels("bytes").set(sum(index.bytes for index in indexes))
        held.labels("blocks").set(sum(index.blocks for index in indexes))

    registry.before_snapshot(refresh)
