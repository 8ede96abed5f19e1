"""The metrics of a serving process: names, labels and edges of Dynamo 1.6.1, and our own under `dynamo_fe_`.

Source of the names and edges: the metrics page of the original's frontend, release 1.6.1.
"""

from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.ops.model_series import ModelSeries, RequestSeries
from dynamo_fe.ops.worker_metrics import WorkerMetrics

_TOKENS_IN = "0 100 210 430 870 1800 3600 7400 15000 31000 63000 130000"
_TOKENS_OUT = "0 100 210 430 880 1800 3700 7600 16000 32000"
_TTFT = "0 0.0022 0.0047 0.01 0.022 0.047 0.1 0.22 0.47 1 2.2 4.7 10 22 48 100 220 480"
_ITL = "0 0.0018 0.0033 0.0059 0.011 0.02 0.035 0.064 0.12 0.21 0.38 0.69 1.2 2.3 4.1 7.4 13 24 44 80"
_DURATION = "0 2 4 8 16 32 64 130 260 510"
_MIGRATION = "0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 20 40 60"
_TEMPLATE = "0.00001 0.00005 0.0001 0.0005 0.001 0.005 0.01 0.05"
_TOKENIZE = "0.0001 0.0005 0.001 0.005 0.01 0.05 0.1 0.5 1"
_LOOP = "0 0.001 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1"
_LATENCY_MS = "0.5 1 2 4 8 16 32 64 128 256 512"
_IMAGE_TOKENS = "4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536"
_MEDIA = "0 1 2 3 4 5 6 7 8 9 10 20 30 40 50 100"
_OVERHEAD = "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5"


class FrontendMetrics:
    """The families; one object a process, handed to whoever counts."""

    def __init__(self, prefix: str = "dynamo_frontend") -> None:
        self.registry = MetricsRegistry()
        self._add_requests(prefix)
        self._add_tokens(prefix)
        self._add_models(prefix)
        self._add_moves(prefix)
        self._add_loop(prefix)
        self.workers = WorkerMetrics(self.registry, prefix)
        self._add_ours()
        self._by_model: dict[str, ModelSeries] = {}
        self._by_request: dict[tuple[str, str, str], RequestSeries] = {}
        self.registry.before_snapshot(self._settle)

    def of_model(self, model: str) -> ModelSeries:
        """What its requests count in; `model` is the name of a model, or one for all that is unknown."""
        series = self._by_model.get(model)
        if series is None:
            series = self._by_model[model] = ModelSeries(self, model)
        return series

    def of_request(self, model: str, endpoint: str, request_type: str) -> RequestSeries:
        """What a request of this kind counts in."""
        kind = (model, endpoint, request_type)
        series = self._by_request.get(kind)
        if series is None:
            series = self._by_request[kind] = RequestSeries(self, *kind)
        return series

    def _settle(self) -> None:
        for series in self._by_model.values():
            series.settle()

    def _add_requests(self, prefix: str) -> None:
        registry = self.registry
        request = ("model", "endpoint", "request_type")
        self.requests_started = registry.counter(
            f"{prefix}_requests_started_total", "Requests with a readable body", request
        )
        self.requests = registry.counter(
            f"{prefix}_requests_total", "Requests that ended", (*request, "status", "error_type")
        )
        self.failures = registry.counter(f"{prefix}_failures_total", "Requests that failed", ("class", "reason"))
        self.active = registry.gauge(f"{prefix}_active_requests", "Requests in hand", ("model",))
        self.inflight = registry.gauge(f"{prefix}_inflight_requests", "Requests in hand", ("model",))
        self.queued = registry.gauge(f"{prefix}_queued_requests", "Requests before their first item", ("model",))
        self.duration = registry.histogram(f"{prefix}_request_duration_seconds", "Whole request", _DURATION, ("model",))
        self.cancellations = registry.counter(f"{prefix}_model_cancellation_total", "Clients that left", request)
        self.disconnected = registry.gauge(f"{prefix}_disconnected_clients", "Clients that left, since the start")
        self.rejections = registry.counter(
            f"{prefix}_model_rejection_total", "Overload refusals", ("model", "endpoint")
        )

    def _add_tokens(self, prefix: str) -> None:
        registry = self.registry
        self.ttft = registry.histogram(
            f"{prefix}_time_to_first_token_seconds", "Time to first token", _TTFT, ("model",)
        )
        self.itl = registry.histogram(f"{prefix}_inter_token_latency_seconds", "Time between tokens", _ITL, ("model",))
        self.input_tokens = registry.histogram(
            f"{prefix}_input_sequence_tokens", "Prompt length", _TOKENS_IN, ("model",)
        )
        self.output_tokens = registry.histogram(
            f"{prefix}_output_sequence_tokens", "Answer length", _TOKENS_OUT, ("model",)
        )
        self.output_tokens_total = registry.counter(f"{prefix}_output_tokens_total", "Tokens answered", ("model",))
        self.cached_tokens = registry.histogram(
            f"{prefix}_cached_tokens", "Prompt tokens a worker had", _TOKENS_IN, ("model",)
        )
        self.images = registry.histogram(f"{prefix}_images_per_request", "Images of a request", _MEDIA, ("model",))
        self.image_tokens = registry.histogram(
            f"{prefix}_image_tokens_per_request", "Tokens of a request's images", _IMAGE_TOKENS, ("model",)
        )
        self.videos = registry.histogram(f"{prefix}_videos_per_request", "Videos of a request", _MEDIA, ("model",))
        self.audio = registry.histogram(f"{prefix}_audio_per_request", "Sounds of a request", _MEDIA, ("model",))
        self.template = registry.histogram(f"{prefix}_template_seconds", "Rendering of the chat template", _TEMPLATE)
        self.tokenize = registry.histogram(f"{prefix}_tokenize_seconds", "Tokenizing of a chat prompt", _TOKENIZE)
        self.tokenizer_latency_ms = registry.histogram(
            f"{prefix}_tokenizer_latency_ms",
            "Of each request: tokenizing its prompt, and making text of a token, measured on its first ones",
            _LATENCY_MS,
            ("operation",),
        )
        self.detokenized = registry.counter(f"{prefix}_detokenize_token_count", "Tokens of which text was made")
        self.detokenize_us = registry.counter(
            f"{prefix}_detokenize_total_us", "What that took, microseconds, by the first tokens of each request"
        )

    def _add_models(self, prefix: str) -> None:
        registry = self.registry
        self.model_ready = registry.gauge(
            f"{prefix}_model_ready", "1 when a request would be served", ("model",), "max"
        )
        self.context_length = registry.gauge(
            f"{prefix}_model_context_length", "Context length, tokens", ("model",), "max"
        )
        self.block_size = registry.gauge(f"{prefix}_model_kv_cache_block_size", "KV block, tokens", ("model",), "max")
        self.total_kv_blocks = registry.gauge(
            f"{prefix}_model_total_kv_blocks", "KV blocks of a worker", ("model",), "max"
        )
        self.max_num_seqs = registry.gauge(
            f"{prefix}_model_max_num_seqs", "Requests a worker runs at once", ("model",), "max"
        )
        self.max_num_batched_tokens = registry.gauge(
            f"{prefix}_model_max_num_batched_tokens", "Tokens a worker takes at once", ("model",), "max"
        )

    def _add_moves(self, prefix: str) -> None:
        registry = self.registry
        self.migrations = registry.counter(
            f"{prefix}_model_migration_total", "Requests sent to another worker", ("model", "migration_type")
        )
        self.migration_seconds = registry.histogram(
            f"{prefix}_model_migration_duration_seconds",
            "From the failure of one worker to the next one's taking over",
            _MIGRATION,
            ("model", "migration_type", "outcome"),
        )
        self.migration_outgrown = registry.counter(
            f"{prefix}_model_migration_max_seq_len_exceeded_total", "Requests too long to move", ("model",)
        )
        self.migration_limit = registry.gauge(
            f"{prefix}_model_migration_limit", "What the model's card says", ("model",), "max"
        )

    def _add_loop(self, prefix: str) -> None:
        registry = self.registry
        self.uptime = registry.gauge(
            "dynamo_component_uptime_seconds", "Of each serving process, by an id it has chosen", ("worker_id",)
        )
        self.loop_delay = registry.histogram(
            f"{prefix}_event_loop_delay_seconds", "How late a sleeper of the event loop wakes up", _LOOP
        )
        self.loop_stalls = registry.counter(
            f"{prefix}_event_loop_stall_total", "Of these, those that were late by more than 5 ms"
        )

    def _add_ours(self) -> None:
        registry = self.registry
        self.deadline_misses = registry.counter(
            "dynamo_fe_deadline_misses_total", "Requests ended by one of our timers", ("stage",)
        )
        self.past_deadline = registry.gauge(
            "dynamo_fe_requests_past_deadline", "Requests and streams of workers that should have ended and have not"
        )
        self.retries = registry.counter(
            "dynamo_fe_dispatch_retries_total", "Requests sent to another worker", ("reason",)
        )
        self.set_aside = registry.gauge("dynamo_fe_instances_set_aside", "Workers left out after a failure", (), "max")
        self.admission_refusals = registry.counter(
            "dynamo_fe_admission_refusals_total", "Requests refused because a bound was reached", ("bound",)
        )
        self.requests_in_hand = registry.gauge("dynamo_fe_requests_in_hand", "Inference requests, whatever their stage")
        self.worker_requests = registry.gauge("dynamo_fe_worker_requests", "Requests on workers", ("stage",))
        self.overhead = registry.histogram(
            "dynamo_fe_gateway_overhead_seconds",
            "Answered HTTP requests: from arrival until sent to a worker, without the choice of one by KV routing, and "
            "from what the answer begins with until its first byte is handed to the HTTP server",
            _OVERHEAD,
            ("prompt_tokens",),
        )
        self.streams = registry.gauge("dynamo_fe_streams", "Worker streams that are not over")
        self.plane = registry.gauge("dynamo_fe_plane", "Of the connections to and from workers", ("what",))
        self.bytes_buffered = registry.gauge("dynamo_fe_bytes_buffered", "Bytes that wait to be written", ("towards",))
        self.tokenizing = registry.gauge("dynamo_fe_tokenizing_prompts", "Prompts waiting for a tokenizer or in it")
        self.bounds = registry.gauge("dynamo_fe_bound", "The bounds that are set, by setting", ("setting",), "max")
