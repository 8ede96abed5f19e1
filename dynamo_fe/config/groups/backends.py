"""How workers are found and spoken to."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.setting import choice, optional_choice, optional_text, optional_whole, real, switch, text, whole


@dataclass(frozen=True)
class DiscoverySettings:
    group: ClassVar[str] = "Discovery"

    namespace: str | None = optional_text(
        "--namespace",
        env="DYN_NAMESPACE",
        help="Serve the models of exactly this namespace; none or 'dynamo' means all.",
    )
    namespace_prefix: str | None = optional_text(
        "--namespace-prefix",
        env="DYN_NAMESPACE_PREFIX",
        help="Serve the models of every namespace that starts so. Wins over --namespace.",
    )
    namespace_prefix_strict: bool = switch(
        False,
        env="DYN_NAMESPACE_PREFIX_STRICT",
        help="The prefix matches only itself and itself with a dash and eight hex digits.",
    )
    discovery_backend: str = choice(
        "etcd",
        ("kubernetes", "etcd", "file", "mem"),
        "--discovery-backend",
        env="DYN_DISCOVERY_BACKEND",
        help="Where workers register.",
    )
    file_kv: str | None = optional_text(
        env="DYN_FILE_KV", help="Root folder of file discovery; else $TMPDIR/dynamo_store_kv."
    )
    etcd_endpoints: str = text(
        "http://localhost:2379", env="ETCD_ENDPOINTS", help="URLs of the etcd servers, with commas between them."
    )
    etcd_auth_username: str | None = optional_text(env="ETCD_AUTH_USERNAME", help="User of etcd.")
    etcd_auth_password: str | None = optional_text(env="ETCD_AUTH_PASSWORD", secret=True, help="Password of etcd.")
    etcd_auth_ca: str | None = optional_text(env="ETCD_AUTH_CA", help="CA of etcd's certificate: the PEM text itself.")
    etcd_auth_client_cert: str | None = optional_text(
        env="ETCD_AUTH_CLIENT_CERT", help="Client certificate for etcd: the PEM text itself."
    )
    etcd_auth_client_key: str | None = optional_text(
        env="ETCD_AUTH_CLIENT_KEY", secret=True, help="Key of the client certificate: the PEM text itself."
    )
    etcd_lease_ttl_secs: int = whole(
        30, env="ETCD_LEASE_TTL", low=1, high=86400 * 365, help="Life of the lease without keep-alive."
    )
    etcd_startup_timeout_secs: float = real(
        120.0, env="ETCD_STARTUP_CONNECT_TIMEOUT_SECONDS", help="How long the first connection to etcd is retried."
    )
    kube_silence_secs: float = real(
        75.0,
        env="DYN_FE_KUBE_SILENCE_SECS",
        low=1.0,
        help="A watch of the Kubernetes API that is silent for so long is opened anew; bookmarks come every minute.",
    )
    kube_assume_ready: bool = switch(
        False,
        env="DYN_FE_KUBE_ASSUME_READY",
        help="An endpoint of an EndpointSlice that says nothing of its readiness counts as ready.",
    )


@dataclass(frozen=True)
class PlaneSettings:
    group: ClassVar[str] = "Requests to workers"

    request_plane: str = choice(
        "tcp",
        ("nats", "tcp", "quic"),
        "--request-plane",
        env="DYN_REQUEST_PLANE",
        refused=("quic",),
        help="How requests travel.",
    )
    response_plane: str = choice(
        "tcp",
        ("tcp", "quic"),
        "--response-plane",
        env="DYN_RESPONSE_PLANE",
        refused=("quic",),
        help="How answers travel.",
    )
    event_plane: str | None = optional_choice(
        ("nats", "zmq"),
        "--event-plane",
        env="DYN_EVENT_PLANE",
        help="How events travel; none means zmq.",
    )
    tcp_response_stream_host: str | None = optional_text(
        env="DYN_TCP_RESPONSE_STREAM_HOST", help="Address or interface that workers call back to; else a local one."
    )
    tcp_response_stream_port: int = whole(
        0,
        env="DYN_TCP_RESPONSE_STREAM_PORT",
        high=65535,
        help="Port that workers call back to; 0 takes a free one. Further serving processes, and those that take over "
        "at a reload, take the ports behind it: three for each process.",
    )
    tcp_connect_timeout_secs: float = real(5.0, env="DYN_TCP_CONNECT_TIMEOUT", help="To connect to a worker.")
    ack_timeout_secs: float = real(5.0, env="DYN_TCP_REQUEST_TIMEOUT", help="Until a worker acknowledges a request.")
    handshake_timeout_secs: float = real(
        10.0, env="DYN_FE_HANDSHAKE_TIMEOUT_SECS", help="Until a worker that called back says for which request."
    )
    callback_timeout_secs: float = real(
        300.0,
        env="DYN_FE_CALLBACK_TIMEOUT_SECS",
        help="Until a worker that acknowledged a request calls back; 0 means ever.",
    )
    prologue_timeout_secs: float = real(
        300.0,
        env="DYN_FE_PROLOGUE_TIMEOUT_SECS",
        help="Until a worker that called back accepts the request; 0 means ever.",
    )
    first_item_timeout_secs: float = real(
        600.0, env="DYN_FE_FIRST_ITEM_TIMEOUT_SECS", help="Until the first output of a request; 0 means ever."
    )
    item_timeout_secs: float = real(
        120.0, env="DYN_FE_ITEM_TIMEOUT_SECS", help="Between two outputs of a request; 0 means ever."
    )
    inhibited_secs: float = real(
        5.0, env="DYN_RUNTIME_INHIBITED_DURATION_SECS", help="How long a worker that failed a request is set aside."
    )
    dispatch_attempts: int = whole(
        4, env="DYN_FE_DISPATCH_ATTEMPTS", low=1, help="Workers tried for a request of which nothing was sent on yet."
    )
    max_request_bytes: int = whole(
        33554432, env="DYN_TCP_MAX_MESSAGE_SIZE", low=1024, help="Largest message to a worker."
    )
    max_frame_bytes: int = whole(
        268435456, env="DYN_FE_MAX_FRAME_BYTES", low=1024, help="Largest frame taken from a worker."
    )
    pool_unacked_requests: int = whole(
        1024, env="DYN_FE_POOL_UNACKED_REQUESTS", low=1, help="Unacknowledged requests on one connection to a worker."
    )
    pool_connections: int = whole(100, env="DYN_FE_POOL_CONNECTIONS", low=1, help="Connections to one worker.")
    pool_idle_secs: float = real(300.0, env="DYN_FE_POOL_IDLE_SECS", help="Life of an idle connection to a worker.")
    migration_limit: int = whole(
        3,
        "--migration-limit",
        env="DYN_MIGRATION_LIMIT",
        high=4294967295,
        help="How often a request may move to another worker in mid-stream; 0 turns it off.",
    )
    migration_max_seq_len: int | None = optional_whole(
        "--migration-max-seq-len",
        env="DYN_MIGRATION_MAX_SEQ_LEN",
        low=1,
        high=4294967295,
        help="Tokens (prompt and output) beyond which a request no longer moves.",
    )
