"""Chooses the discovery backend by name and imports only that one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.mem import MemDiscovery, MemStore

if TYPE_CHECKING:
    from dynamo_fe.discovery.kube_access import KubeAccess
    from dynamo_fe.discovery.kube_identity import Identity


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
    from dynamo_fe.discovery.kubernetes import KubernetesDiscovery

    identity, access = kubernetes_options()
    return KubernetesDiscovery(access, identity, settings.kube_silence_secs, settings.kube_assume_ready, seat)


def kubernetes_options() -> tuple[Identity, KubeAccess]:
    """Who this pod is, and how the API server is spoken to. Raises `ValueError`, with words for the operator."""
    from dynamo_fe.discovery.kube_config import load_access
    from dynamo_fe.discovery.kube_identity import read_identity

    return read_identity(os.environ), load_access(os.environ)


def _open_etcd(settings: DiscoverySettings) -> Discovery:
    # Our children run another program at once; the handlers for those that do not would only log that they did not run.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from dynamo_fe.discovery.etcd import EtcdDiscovery
    from dynamo_fe.discovery.etcd_options import etcd_options

    return EtcdDiscovery(etcd_options(settings))
