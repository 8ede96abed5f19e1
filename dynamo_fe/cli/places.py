"""What settings name outside of themselves: servers, addresses, folders. Whether it can be what it is meant to be."""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

from dynamo_fe.appliance.role import GENERATIONS
from dynamo_fe.cli.kv_shared import in_kv_mode
from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.planes.host import resolve_host

_LABELS: Final = {setting.name: setting.label for setting in TABLE}
_ETCD: Final = ("etcd_auth_ca", "etcd_auth_client_cert", "etcd_auth_client_key")
_NATS: Final = ("nats_auth_nkey", "nats_auth_credentials_file")
_MOST_PORT: Final = 65535


def check_places(settings: Settings) -> None:
    """Raises SettingFault for what cannot work, now or at all. Nothing is connected to."""
    if settings.discovery_backend == "etcd":
        _check_etcd(settings)
    if uses_nats(settings):
        _check_nats(settings)
    _check_call_backs(settings)
    _check_folders(settings)


def uses_nats(settings: Settings) -> bool:
    """Whether requests or events travel by NATS."""
    return settings.request_plane == "nats" or (settings.event_plane == "nats" and in_kv_mode(settings))


def seats_of(settings: Settings) -> int:
    """How many processes may live at once that serve, or did before a reload: of HTTP, and one of gRPC beside them."""
    return GENERATIONS * (settings.workers + (0 if settings.grpc_port is None else 1))


def _check_etcd(settings: Settings) -> None:
    from dynamo_fe.discovery.etcd_options import etcd_options

    try:
        etcd_options(settings)
    except ValueError as error:
        raise SettingFault(str(error), *_named(str(error), _ETCD, "etcd_endpoints")) from None


def check_pod(settings: Settings) -> None:
    """With Kubernetes discovery: whether the environment says what pod this is and where the API server is. Raises
    SettingFault.
    """
    if settings.discovery_backend != "kubernetes":
        return
    from dynamo_fe.discovery.factory import kubernetes_options

    try:
        kubernetes_options()
    except ValueError as error:
        raise SettingFault(str(error), "discovery_backend") from None


def _check_nats(settings: Settings) -> None:
    from dynamo_fe.planes.event.options import NatsEventOptions
    from dynamo_fe.planes.nats_login import check_servers, credentials
    from dynamo_fe.planes.nats_settings import nats_access

    options = NatsEventOptions(**nats_access(settings))
    try:
        check_servers(options.servers)
    except ValueError as error:
        raise SettingFault(str(error), "nats_server") from None
    try:
        credentials(options)
    except ValueError as error:
        raise SettingFault(str(error), *_named(str(error), _NATS, "nats_auth_credentials_file")) from None


def _named(text: str, names: Sequence[str], otherwise: str) -> list[str]:
    """Those of the settings that the text names."""
    return [name for name in names if _LABELS[name] in text] or [otherwise]


def _check_call_backs(settings: Settings) -> None:
    try:
        resolve_host(settings.tcp_response_stream_host)
    except ValueError as error:
        # an interface may be up another time
        raise SettingFault(str(error), "tcp_response_stream_host", passes="interface" in str(error)) from None
    first = settings.tcp_response_stream_port
    last = first + seats_of(settings) - 1
    if first and last > _MOST_PORT:
        text = f"must be at most {_MOST_PORT + 1 - seats_of(settings)}: the serving processes take it and those behind"
        raise SettingFault(text, "tcp_response_stream_port")
    for name in ("http_port", "grpc_port", *(["grpc_metrics_port"] if settings.grpc_only else [])):
        if first and first <= (getattr(settings, name) or 0) <= last:
            text = f"the serving processes take the ports from {first} to {last}, {_LABELS[name]} must be another"
            raise SettingFault(text, "tcp_response_stream_port")


def try_call_backs(settings: Settings) -> None:
    """Listens where the first serving processes will, for a moment. Raises SettingFault where that cannot be."""
    host = resolve_host(settings.tcp_response_stream_host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first = settings.tcp_response_stream_port
    for port in range(first, first + settings.workers) if first else (0,):
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            name = "tcp_response_stream_port" if error.errno == errno.EADDRINUSE else "tcp_response_stream_host"
            reason = os.strerror(error.errno or 0)
            text = f"cannot listen on {host} port {port} for call-backs of workers: {reason}"
            raise SettingFault(text, name, passes=True) from None


def _check_folders(settings: Settings) -> None:
    if settings.model_path is not None and not os.path.isfile(os.path.join(settings.model_path, "config.json")):
        there = "has no config.json" if os.path.isdir(settings.model_path) else "is no folder"
        raise SettingFault(f"{settings.model_path} {there}; it must hold a model's files", "model_path")
    folders = {"cache_dir": os.path.expanduser(settings.cache_dir)}
    if settings.discovery_backend == "file" and settings.file_kv is not None:
        folders["file_kv"] = settings.file_kv
    for name, folder in folders.items():
        there = os.path.abspath(folder)
        while not os.path.exists(there):
            there = os.path.dirname(there)
        if not os.path.isdir(there):
            raise SettingFault(f"{folder} must be a folder, but {there} is none", name)
