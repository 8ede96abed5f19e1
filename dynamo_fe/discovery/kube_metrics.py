"""How the view of the API server fares, as metrics: set right before each scrape, free in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dynamo_fe.discovery.kube_reflector import Reflector
from dynamo_fe.ops.metrics import MetricsRegistry


class Shown(Protocol):
    """What is shown of."""

    @property
    def reflectors(self) -> Sequence[Reflector]:
        """One a resource."""

    def view_age_secs(self) -> float | None:
        """None while there is no view."""

    def record_counts(self) -> dict[str, int]:
        """Records by state."""


def show(shown: Shown, registry: MetricsRegistry) -> None:
    """Adds the families to the registry. Of several processes each has a view of its own: the oldest one counts."""
    age = registry.gauge(
        "dynamo_fe_kubernetes_view_age_seconds", "Since the view of the API server was confirmed", (), "max"
    )
    records = registry.gauge(
        "dynamo_fe_kubernetes_records", "DynamoWorkerMetadata by what becomes of them", ("state",), "max"
    )
    restarts = registry.counter(
        "dynamo_fe_kubernetes_watch_restarts_total", "Watches that ended, by reason", ("resource", "reason")
    )
    errors = registry.counter(
        "dynamo_fe_kubernetes_list_errors_total", "Lists that failed, by HTTP status or reason", ("resource", "code")
    )

    def refresh() -> None:
        age_secs = shown.view_age_secs()
        if age_secs is not None:
            age.labels().set(age_secs)
        for state, count in shown.record_counts().items():
            records.labels(state).set(count)
        for reflector in shown.reflectors:
            for reason, count in reflector.restarts.items():
                restarts.labels(reflector.resource.name, reason).set(count)
            for code, count in reflector.list_errors.items():
                errors.labels(reflector.resource.name, code).set(count)

    registry.before_snapshot(refresh)
