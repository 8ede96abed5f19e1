"""What the settings say about the NATS servers, for every plane that uses them."""

from __future__ import annotations

import ssl
from typing import Any

from dynamo_fe.config.settings import Settings
from dynamo_fe.planes.tls import client_context


def nats_access(settings: Settings) -> dict[str, Any]:
    """The servers and the ways in, by the names of the planes' options; reads TLS files. Raises TlsFileError."""
    return {
        "servers": tuple(server.strip() for server in settings.nats_server.split(",") if server.strip()),
        "username": settings.nats_auth_username,
        "password": settings.nats_auth_password,
        "token": settings.nats_auth_token,
        "nkey_seed": settings.nats_auth_nkey,
        "credentials_file": settings.nats_auth_credentials_file,
        "connect_tls": _nats_tls(settings),
    }


def _nats_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS if any of its settings is there or a URL says so."""
    authority, certificate = settings.nats_tls_ca_cert_path, settings.nats_tls_client_cert_path
    insecure = settings.nats_tls_insecure
    if authority is None and certificate is None and not insecure and "tls://" not in settings.nats_server:
        return None
    return client_context(authority, certificate, settings.nats_tls_client_key_path, insecure=insecure)
