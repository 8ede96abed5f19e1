"""Settings of the request planes, apart from the product's table of settings."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """What the planes have in common: a request's deadlines, and the listener for answers.

    `listen_host`: an IP address or the name of an interface, None for a local address that workers can reach.
    `listen_port` 0 lets the system choose. `listen_tls`: workers must call back by TLS. `write_buffer_bytes` bounds
    what waits to be written to one worker, or to the broker.
    """

    connect_timeout_secs: float = 5.0
    ack_timeout_secs: float = 5.0
    handshake_timeout_secs: float = 10.0
    callback_timeout_secs: float = 300.0
    prologue_timeout_secs: float = 300.0
    first_item_timeout_secs: float = 600.0
    item_timeout_secs: float = 120.0
    max_request_bytes: int = 32 << 20
    max_frame_bytes: int = 256 << 20
    listen_host: str | None = None
    listen_port: int = 0
    listen_backlog: int = 4096
    listen_tls: ssl.SSLContext | None = None
    tls_handshake_timeout_secs: float = 3.0
    write_buffer_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class TcpPlaneOptions(PlaneOptions):
    """`connect_tls`: workers' request ports speak TLS; `tls_server_name` is the name to verify instead of the host."""

    connect_tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    pool_unacked_requests: int = 1024
    pool_connections: int = 100
    pool_idle_secs: float = 300.0


@dataclass(frozen=True, slots=True)
class NatsPlaneOptions(PlaneOptions):
    """`servers` are URLs. Of the ways to be let in, the first that is set counts: user and password, token, NKey seed,
    credentials file; with none, what stands in the URL, else the original's default user. `connect_tls`: the server
    must offer TLS.
    """

    ack_timeout_secs: float = 10.0
    servers: tuple[str, ...] = ("nats://localhost:4222",)
    username: str | None = None
    password: str | None = None
    token: str | None = None
    nkey_seed: str | None = None
    credentials_file: str | None = None
    connect_tls: ssl.SSLContext | None = None
