"""Gauges and counters of what clients hold: connections, and bodies on their way in."""

from __future__ import annotations

from dynamo_fe.http.connections import Connections
from dynamo_fe.http.intake import Intake
from dynamo_fe.ops.metrics import MetricsRegistry


def mirror_clients(registry: MetricsRegistry, intake: Intake, connections: Connections) -> None:
    """Has them set before each scrape from what the two objects count themselves."""
    open_now = registry.gauge("dynamo_fe_client_connections", "Open client connections")
    closed = registry.counter(
        "dynamo_fe_client_connections_closed_total",
        "Connections, and streams of HTTP/2 connections, that we closed",
        ("reason",),
    )
    in_hand = registry.gauge("dynamo_fe_request_body_bytes", "Bytes of request bodies in hand")
    refused = registry.counter("dynamo_fe_request_bodies_refused_total", "Bodies refused for want of budget")

    def refresh() -> None:
        open_now.labels().set(connections.open_now())
        for reason, count in connections.closed.items():
            closed.labels(reason).set(count)
        in_hand.labels().set(intake.in_hand_bytes)
        refused.labels().set(intake.refused)

    registry.before_snapshot(refresh)
