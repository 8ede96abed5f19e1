"""Chooses the request plane by name and imports only that one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from dynamo_fe.config.settings import Settings
from dynamo_fe.planes.nats_settings import nats_access
from dynamo_fe.planes.request.options import NatsPlaneOptions, TcpPlaneOptions
from dynamo_fe.planes.tls import client_context, server_context

if TYPE_CHECKING:
    from dynamo_fe.planes.request.base import RequestPlane


_EVER_SECS: Final = 365 * 86400.0


def open_request_plane(settings: Settings) -> RequestPlane:
    """The plane that the settings name, not started yet. Raises ValueError for what can never work, in one line."""
    options = plane_options(settings)
    if isinstance(options, NatsPlaneOptions):
        from dynamo_fe.planes.request.nats import NatsRequestPlane

        return NatsRequestPlane(options)
    from dynamo_fe.planes.request.tcp import TcpRequestPlane

    return TcpRequestPlane(options)


def plane_options(settings: Settings) -> TcpPlaneOptions | NatsPlaneOptions:
    """The request plane's part of the settings; reads the TLS files. Raises TlsFileError."""
    if settings.request_plane == "nats":
        return NatsPlaneOptions(
            **_common(settings),
            ack_timeout_secs=settings.nats_request_timeout_secs,
            **nats_access(settings),
        )
    return TcpPlaneOptions(
        **_common(settings),
        ack_timeout_secs=settings.ack_timeout_secs,
        connect_tls=_worker_tls(settings),
        tls_server_name=settings.tcp_tls_server_name,
        pool_unacked_requests=settings.pool_unacked_requests,
        pool_connections=settings.pool_connections,
        pool_idle_secs=settings.pool_idle_secs,
    )


def _common(settings: Settings) -> dict[str, Any]:
    """The original's one silence limit, when set, holds from the acknowledgement on; 0 stands for no deadline."""
    silence = settings.backend_stream_timeout_secs
    before = silence or _EVER_SECS
    return {
        "connect_timeout_secs": settings.tcp_connect_timeout_secs,
        "handshake_timeout_secs": settings.handshake_timeout_secs,
        "callback_timeout_secs": min(before, settings.callback_timeout_secs or _EVER_SECS),
        "prologue_timeout_secs": min(before, settings.prologue_timeout_secs or _EVER_SECS),
        "first_item_timeout_secs": silence or settings.first_item_timeout_secs or _EVER_SECS,
        "item_timeout_secs": silence or settings.item_timeout_secs or _EVER_SECS,
        "max_request_bytes": settings.max_request_bytes,
        "max_frame_bytes": settings.max_frame_bytes,
        "listen_host": settings.tcp_response_stream_host,
        "listen_port": settings.tcp_response_stream_port,
        "listen_tls": _callback_tls(settings),
        "tls_handshake_timeout_secs": settings.tcp_tls_handshake_timeout_secs,
    }


def _callback_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tcp_tls_cert_path is None or settings.tcp_tls_key_path is None:
        return None
    return server_context(settings.tcp_tls_cert_path, settings.tcp_tls_key_path, settings.tcp_tls_client_ca_cert_path)


def _worker_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tcp_tls_ca_cert_path is None and not settings.tcp_tls_insecure:
        return None
    return client_context(
        settings.tcp_tls_ca_cert_path,
        settings.tcp_tls_client_cert_path,
        settings.tcp_tls_client_key_path,
        insecure=settings.tcp_tls_insecure,
    )
