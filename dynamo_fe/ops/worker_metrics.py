"""The metrics of what is between us and the workers, under the names of Dynamo 1.6.1."""

from __future__ import annotations

from typing import Final

from dynamo_fe.ops.metrics import MetricsRegistry

_STAGE: Final = "0.0001 0.0005 0.001 0.005 0.01 0.05 0.1 0.5 1 2.5 5"
_SEND: Final = "0.0001 0.0005 0.001 0.005 0.01 0.05 0.1 0.5 1"
_ROUNDTRIP: Final = "0.001 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5"
_TOKENS_IN: Final = "0 100 210 430 870 1800 3600 7400 15000 31000 63000 130000"
_TOKENS_OUT: Final = "0 100 210 430 880 1800 3700 7600 16000 32000"
_TTFT: Final = "0 0.0022 0.0047 0.01 0.022 0.047 0.1 0.22 0.47 1 2.2 4.7 10 22 48 100 220 480"
_ITL: Final = "0 0.0019 0.0035 0.0067 0.013 0.024 0.045 0.084 0.16 0.3 0.56 1.1 2"


class WorkerMetrics:
    """The families. `worker_id` of those that begin with `dynamo_component_` is the frontend's own id, not a worker's,
    as in the original; the one id is spelled in decimal digits as `router_id` and in hexadecimal ones as `worker_id`.
    """

    def __init__(self, registry: MetricsRegistry, prefix: str) -> None:
        self._registry = registry
        self._add_stages(prefix)
        self._add_plane()
        self._add_router()
        self._add_last(prefix)

    def _add_stages(self, prefix: str) -> None:
        self.stage = self._registry.histogram(
            f"{prefix}_stage_duration_seconds", "What a request is in before its first item", _STAGE, ("stage",)
        )
        self.stage_requests = self._registry.gauge(
            f"{prefix}_stage_requests", "Requests that are in it", ("stage", "phase")
        )

    def _add_plane(self) -> None:
        registry = self._registry
        self.inflight = registry.gauge(
            "dynamo_request_plane_inflight_requests", "Requests sent to workers and not over"
        )
        self.queue = registry.histogram(
            "dynamo_request_plane_queue_seconds", "Until a request can be sent: its encoding, and a connection", _SEND
        )
        self.send = registry.histogram(
            "dynamo_request_plane_send_seconds", "From then until the request is written", _SEND
        )
        self.roundtrip = registry.histogram(
            "dynamo_request_plane_roundtrip_ttft_seconds", "From then to the first item", _ROUNDTRIP
        )
        self.transport = {
            what: registry.counter(f"dynamo_transport_tcp_{what}_total", text)
            for what, text in (
                ("bytes_sent", "Bytes of requests sent"),
                ("bytes_received", "Bytes of acknowledgements, which the original does not count"),
                ("errors", "Request connections that could not be had or were lost, and requests not acknowledged"),
            )
        }

    def _add_router(self) -> None:
        registry = self._registry
        place = ("dynamo_namespace", "dynamo_component", "router_id", "worker_id")
        name = "dynamo_component_router_{}".format
        self.router_started = registry.counter(name("requests_started_total"), "Requests that got a worker", place)
        self.router_finished = registry.counter(name("requests_total"), "Requests that a worker is done with", place)
        self.router_input = registry.histogram(
            name("input_sequence_tokens"), "Prompt length", _TOKENS_IN, (*place, "model", "phase")
        )
        self.router_ttft = registry.histogram(
            name("time_to_first_token_seconds"), "From arrival to the first token", _TTFT, place
        )
        self.router_itl = registry.histogram(
            name("inter_token_latency_seconds"), "Mean distance of a request's tokens", _ITL, place
        )
        self.router_output = registry.histogram(name("output_sequence_tokens"), "Answer length", _TOKENS_OUT, place)

    def _add_last(self, prefix: str) -> None:
        rank = ("worker_id", "dp_rank", "worker_type")

        gauge = self._registry.gauge
        self.last_ttft = gauge(
            f"{prefix}_worker_last_time_to_first_token_seconds", "Of the worker's last request", rank, "max"
        )
        self.last_input = gauge(
            f"{prefix}_worker_last_input_sequence_tokens", "Prompt length of the worker's last request", rank, "max"
        )
        self.last_itl = gauge(
            f"{prefix}_worker_last_inter_token_latency_seconds", "Of the last tokens the worker sent", rank, "max"
        )
