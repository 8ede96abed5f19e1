"""Settings for tests of one room, without the whole table of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiscoveryOptions:
    """What `open_discovery` reads."""

    discovery_backend: str
    file_kv: str | None = None
    etcd_endpoints: str | None = None
    etcd_auth_username: str | None = None
    etcd_auth_password: str | None = None
    etcd_auth_ca: str | None = None
    etcd_auth_client_cert: str | None = None
    etcd_auth_client_key: str | None = None
    etcd_lease_ttl_secs: int = 30
    kube_silence_secs: float = 75.0
    kube_assume_ready: bool = False
