"""Chooses the discovery backend by name and imports only that one."""

from __future__ import annotations

import os
from typing import Protocol

from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.mem import MemDiscovery, MemStore


class DiscoverySettings(Protocol):
    """The settings read here; the table of settings fits."""

    @property
    def discovery_backend(self) -> str: ...
    @property
    def file_kv(self) -> str | None: ...
    @property
    def etcd_endpoints(self) -> str | None: ...
    @property
    def etcd_auth_username(self) -> str | None: ...
    @property
    def etcd_auth_password(self) -> str | None: ...
    @property
    def etcd_auth_ca(self) -> str | None: ...
    @property
    def etcd_auth_client_cert(self) -> str | None: ...
    @property
    def etcd_auth_client_key(self) -> str | None: ...
    @property
    def etcd_lease_ttl_secs(self) -> int: ...
    @property
    def kube_silence_secs(self) -> float: ...
    @property
    def kube_assume_ready(self) -> bool: ...


def open_discovery(settings: DiscoverySettings, mem_store: MemStore | None = None, seat: int = 0) -> Discovery:
    """The backend that the settings name, not started yet. `mem` uses the store given here, or one of its own. `seat`
    tells processes of one pod apart, which write one record together.

    Raises `ValueError` for settings that can never work, with words for the operator.
    """
    backend = settings.discovery_backend
    if backend == "etcd":
        return _open_etcd(settings)
    if backend == "file":
        from dynamo_fe.discovery.file import FileDiscovery

        return FileDiscovery(settings.file_kv or default_file_root())
    if backend == "mem":
        return MemDiscovery(mem_store if mem_store is not None else MemStore())
    if backend == "kubernetes":
        return _open_kubernetes(settings, seat)
    raise ValueError(f"discovery backend {backend!r} is not known (kubernetes, etcd, file or mem)")


def default_file_root() -> str:
    """Where the file store lies when nobody says so."""
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", "dynamo_store_kv")


def _open_kubernetes(settings: DiscoverySettings, seat: int) -> Discovery:
    from dynamo_fe.discovery.kube_config import load_access
    from dynamo_fe.discovery.kube_identity import read_identity
    from dynamo_fe.discovery.kubernetes import KubernetesDiscovery

    identity = read_identity(os.environ)
    access = load_access(os.environ)
    return KubernetesDiscovery(access, identity, settings.kube_silence_secs, settings.kube_assume_ready, seat)


def _open_etcd(settings: DiscoverySettings) -> Discovery:
    # Our children run another program at once; the handlers for those that do not would only log that they did not run.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from dynamo_fe.discovery.etcd import EtcdDiscovery
    from dynamo_fe.discovery.etcd_options import EtcdOptions, check_pem, parse_endpoints

    ca_pem = settings.etcd_auth_ca or ""
    client_cert_pem = settings.etcd_auth_client_cert or ""
    client_key_pem = settings.etcd_auth_client_key or ""
    check_pem(ca_pem, client_cert_pem, client_key_pem)
    return EtcdDiscovery(
        EtcdOptions(
            endpoints=parse_endpoints(settings.etcd_endpoints or "", bool(ca_pem or client_cert_pem)),
            username=settings.etcd_auth_username or "",
            password=settings.etcd_auth_password or "",
            ca_pem=ca_pem,
            client_cert_pem=client_cert_pem,
            client_key_pem=client_key_pem,
            lease_ttl_secs=settings.etcd_lease_ttl_secs,
        )
    )
