"""The process itself: its HTTP port, its workers, its shutdown, its log."""

from dataclasses import dataclass
from typing import ClassVar, Final

from dynamo_fe.config.forms import HOST, LOG_FILTER
from dynamo_fe.config.setting import (
    choice,
    optional_real,
    optional_text,
    optional_whole,
    real,
    switch,
    text,
    whole,
    words,
)

# of HTTP/2 itself
_MOST_WINDOW: Final = 2**31 - 1


@dataclass(frozen=True)
class HttpSettings:
    group: ClassVar[str] = "HTTP"

    http_host: str = text(
        "0.0.0.0", "--http-host", env="DYN_HTTP_HOST", form=HOST, help="Address or host name to listen on."
    )
    http_port: int = whole(
        8000, "--http-port", env="DYN_HTTP_PORT", high=65535, help="Port to listen on; 0 takes a free one."
    )
    http_backlog: int = whole(
        4096,
        env="DYN_HTTP_LISTEN_BACKLOG",
        low=1,
        high=65535,
        help="Connections that may wait to be accepted, per worker.",
    )
    max_connections: int = whole(
        8192, env="DYN_FE_MAX_CONNECTIONS", low=1, help="Client connections open at once, per worker."
    )
    body_limit_mb: int = whole(
        45, env="DYN_HTTP_BODY_LIMIT_MB", low=1, high=1 << 20, help="Largest request body, in MiB."
    )
    overload_status_code: int = whole(
        529, env="DYN_HTTP_OVERLOAD_STATUS_CODE", low=400, high=599, help="HTTP status of a refusal for overload."
    )
    pre_commit_peek_ms: int = whole(
        500,
        env="DYN_HTTP_PRE_COMMIT_ERROR_PEEK_MS",
        help="How long a stream's headers wait for its first item, so that an early failure keeps its status; 0 sends "
        "them at once.",
    )
    sse_keep_alive_ms: int = whole(
        15000,
        env="DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS",
        help="Silence after which a stream sends a comment line; 0 turns it off.",
    )
    stream_buffer_bytes: int = whole(
        262144,
        env="DYN_FE_STREAM_BUFFER_BYTES",
        low=4096,
        high=1 << 30,
        help="Output that the kernel keeps for a slow reader before its worker's stream is paused.",
    )
    backend_stream_timeout_secs: float | None = optional_real(
        env="DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS",
        help="Silence of a worker that ends its stream: the request goes on at another, where the same holds anew, and "
        "ends when DYN_FE_DISPATCH_ATTEMPTS (or --migration-limit, once it was answered) are used up.",
    )
    tls_cert_path: str | None = optional_text(
        "--tls-cert-path", env="DYN_TLS_CERT_PATH", help="Certificate for HTTPS, PEM."
    )
    tls_key_path: str | None = optional_text(
        "--tls-key-path", env="DYN_TLS_KEY_PATH", help="Key of the certificate, PEM."
    )
    tls_client_ca_cert_path: str | None = optional_text(
        "--tls-client-ca-cert-path",
        env="DYN_TLS_CLIENT_CA_CERT_PATH",
        help="CA that must have signed the certificates of clients, PEM.",
    )


@dataclass(frozen=True)
class ProcessSettings:
    group: ClassVar[str] = "Processes and shutdown"

    workers: int = whole(1, "--workers", env="DYN_FE_WORKERS", low=1, high=256, help="HTTP worker processes.")
    mock_workers: int = whole(
        0,
        "--mock-workers",
        env="DYN_FE_MOCK_WORKERS",
        high=256,
        help="Start this many mock engine workers beside the frontend, to try it without a GPU.",
    )
    drain_timeout_secs: float = real(
        120.0,
        "--drain-timeout-secs",
        env="DYN_FE_DRAIN_TIMEOUT_SECS",
        help="How long running requests may take to finish after SIGTERM, and those of before a reload after that.",
    )
    drain_accept_secs: float | None = optional_real(
        "--drain-accept-secs",
        env="DYN_FE_DRAIN_ACCEPT_SECS",
        low=0.0,
        help="How long requests are still served after SIGTERM, while readiness is false already, before they are "
        "refused; else 5 with Kubernetes discovery, where pods are sent requests until all have heard, and 0.",
    )
    shutdown_timeout_secs: float = real(
        5.0,
        env="DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS",
        help="How long requests are still answered with a refusal after SIGTERM before the port closes.",
    )
    heartbeat_timeout_secs: float = real(
        30.0,
        env="DYN_FE_HEARTBEAT_TIMEOUT_SECS",
        help="How long the loop of a serving process may hang before another takes its place; 0 means ever.",
    )
    fd_limit: int = whole(
        8192,
        env="DYN_FRONTEND_FD_LIMIT_TARGET",
        help="Soft limit of open files to raise to, or more if max_connections needs more; 0 leaves it as it is.",
    )
    config: str | None = optional_text(
        "--config", env="DYN_FE_CONFIG", help="File with settings, TOML; flags and variables win over it."
    )
    interactive: bool = switch(
        False, "-i", "--interactive", env="DYN_INTERACTIVE", status="pending", help="Text chat in the terminal."
    )
    dump_config_to: str | None = optional_text(
        "--dump-config-to", env="DYN_DUMP_CONFIG_TO", help="Write the configuration to this file, as JSON."
    )


@dataclass(frozen=True)
class LogSettings:
    group: ClassVar[str] = "Logs, metrics and tracing"

    log_level: str = text(
        "info", env="DYN_LOG", form=LOG_FILTER, help="Level of the log, such as debug or info,dynamo_runtime=debug."
    )
    log_jsonl: bool = switch(False, env="DYN_LOGGING_JSONL", help="Write the log as lines of JSON.")
    metrics_prefix: str = text(
        "dynamo_frontend",
        "--metrics-prefix",
        env="DYN_METRICS_PREFIX",
        help="Prefix of the names of the frontend's metrics.",
    )
    otel_export_enabled: bool = switch(
        False, env="OTEL_EXPORT_ENABLED", status="pending", help="Export traces with OpenTelemetry."
    )


@dataclass(frozen=True)
class KserveSettings:
    group: ClassVar[str] = "KServe, and extensions"

    kserve_grpc_server: bool = switch(
        False,
        "--kserve-grpc-server",
        env="DYN_KSERVE_GRPC_SERVER",
        help="Serve KServe gRPC on --http-port, with metrics on --grpc-metrics-port; beside HTTP with --grpc-port.",
    )
    grpc_port: int | None = optional_whole(
        "--grpc-port",
        env="DYN_FE_GRPC_PORT",
        high=65535,
        help="Serve KServe gRPC on this port, and the HTTP of --http-port as ever; 0 takes a free one.",
    )
    grpc_metrics_port: int = whole(
        8788,
        "--grpc-metrics-port",
        env="DYN_GRPC_METRICS_PORT",
        high=65535,
        help="HTTP port of metrics and health when --http-port speaks gRPC.",
    )
    kserve_strict: bool = switch(
        False,
        "--kserve-strict",
        env="DYN_FE_KSERVE_STRICT",
        help="Answer KServe requests exactly as the original does, without what README lists as better.",
    )
    grpc_stream_window_bytes: int | None = optional_whole(
        env="DYN_GRPC_INITIAL_STREAM_WINDOW_SIZE",
        high=_MOST_WINDOW,
        help="HTTP/2 window of a gRPC stream.",
        lenient=True,
    )
    grpc_connection_window_bytes: int | None = optional_whole(
        env="DYN_GRPC_INITIAL_CONNECTION_WINDOW_SIZE",
        high=_MOST_WINDOW,
        help="HTTP/2 window of a gRPC connection.",
        lenient=True,
    )

    @property
    def grpc_only(self) -> bool:
        """Whether --http-port speaks gRPC, and HTTP has only metrics and health, on a port of its own."""
        return self.kserve_grpc_server and self.grpc_port is None

    frontend_route_extensions: tuple[str, ...] = words(
        "--frontend-route-extension",
        env="DYN_FRONTEND_ROUTE_EXTENSIONS",
        status="pending",
        help="Extra routes: a name of the entry point group dynamo.frontend.routes, or module:function. Repeatable.",
    )
    dyn_chat_processor: str = choice(
        "dynamo",
        ("dynamo", "vllm", "sglang"),
        "--dyn-chat-processor",
        env="DYN_CHAT_PROCESSOR",
        stand_ins={"vllm": "dynamo", "sglang": "dynamo"},
        help="Who prepares chat requests and reads their output.",
    )
    dyn_debug_perf: bool = switch(
        False, "--dyn-debug-perf", env="DYN_DEBUG_PERF", status="pending", help="Time the vllm and sglang processors."
    )
    dyn_preprocess_workers: int = whole(
        0,
        "--dyn-preprocess-workers",
        env="DYN_PREPROCESS_WORKERS",
        status="pending",
        help="Processes for the vllm and sglang processors.",
    )
