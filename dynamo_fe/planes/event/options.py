"""Settings of the event planes, apart from the product's table of settings."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ZmqEventOptions:
    """`listen_host`: where publishers listen, an IP address or the name of an interface, None for a local address that
    others can reach. `queue_messages` bounds what waits for each peer; what comes on top is dropped. `gather_secs`: how
    long messages may gather before they are taken together; 0: each is taken as it comes.
    """

    listen_host: str | None = None
    queue_messages: int = 8192
    max_message_bytes: int = 64 << 20
    gather_secs: float = 0.020


@dataclass(frozen=True, slots=True)
class NatsEventOptions:
    """`servers` are URLs; the ways to be let in are those of the request plane. The queues bound what waits to be
    handled and to be sent, `write_buffer_bytes` what waits to be written; what comes on top is dropped.
    """

    servers: tuple[str, ...] = ("nats://localhost:4222",)
    connect_timeout_secs: float = 5.0
    username: str | None = None
    password: str | None = None
    token: str | None = None
    nkey_seed: str | None = None
    credentials_file: str | None = None
    connect_tls: ssl.SSLContext | None = None
    queue_messages: int = 8192
    queue_bytes: int = 64 << 20
    write_buffer_bytes: int = 64 << 20
