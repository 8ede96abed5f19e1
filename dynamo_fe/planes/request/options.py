"""Settings of the TCP request plane, apart from the product's table of settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TcpPlaneOptions:
    """`listen_host`: an IP address or the name of an interface, None for a local address that workers can reach.

    `listen_port` 0 lets the system choose. `write_buffer_bytes` bounds what waits to be written to one worker.
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
    pool_unacked_requests: int = 1024
    pool_connections: int = 100
    pool_idle_secs: float = 300.0
    write_buffer_bytes: int = 64 << 20
