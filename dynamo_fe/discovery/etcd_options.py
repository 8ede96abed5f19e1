"""Where etcd is and how one is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dynamo_fe.config.logins import without_logins

if TYPE_CHECKING:
    from dynamo_fe.discovery.factory import DiscoverySettings

DEFAULT_ENDPOINT = "http://localhost:2379"
DEFAULT_PORT = 2379
_MOST_PORT = 65535


class Endpoint(msgspec.Struct, frozen=True):
    """`target` is HOST:PORT as gRPC takes it."""

    target: str
    tls: bool


class EtcdOptions(msgspec.Struct, frozen=True, kw_only=True):
    """User and password, TLS, both or neither. The three TLS values hold the PEM text itself, not file names; a CA
    alone is enough for a server that asks for no client certificate."""

    endpoints: tuple[Endpoint, ...]
    username: str = ""
    password: str = ""
    ca_pem: str = ""
    client_cert_pem: str = ""
    client_key_pem: str = ""
    lease_ttl_secs: int = 30
    call_timeout_secs: float = 5.0
    ping_interval_secs: float = 10.0
    ping_timeout_secs: float = 5.0


def etcd_options(settings: DiscoverySettings) -> EtcdOptions:
    """etcd's part of the settings. Raises `ValueError` for what can never work, with words for the operator."""
    ca_pem = settings.etcd_auth_ca or ""
    client_cert_pem = settings.etcd_auth_client_cert or ""
    client_key_pem = settings.etcd_auth_client_key or ""
    check_pem(ca_pem, client_cert_pem, client_key_pem)
    return EtcdOptions(
        endpoints=parse_endpoints(settings.etcd_endpoints or "", bool(ca_pem or client_cert_pem)),
        username=settings.etcd_auth_username or "",
        password=settings.etcd_auth_password or "",
        ca_pem=ca_pem,
        client_cert_pem=client_cert_pem,
        client_key_pem=client_key_pem,
        lease_ttl_secs=settings.etcd_lease_ttl_secs,
    )


def check_pem(ca_pem: str, client_cert_pem: str, client_key_pem: str) -> None:
    """Raises `ValueError` for what can never work, so that it is said at start and not retried for ever."""
    for name, text in (("CA", ca_pem), ("CLIENT_CERT", client_cert_pem), ("CLIENT_KEY", client_key_pem)):
        if text and "-----BEGIN" not in text:
            raise ValueError(f"ETCD_AUTH_{name} must hold the PEM text itself, not a file name")
    if bool(client_cert_pem) != bool(client_key_pem):
        raise ValueError("ETCD_AUTH_CLIENT_CERT and ETCD_AUTH_CLIENT_KEY go together")


def parse_endpoints(text: str, tls_given: bool) -> tuple[Endpoint, ...]:
    """A comma-separated list of URLs. Without a scheme, TLS is used if TLS material is given. A login in one has no
    effect, as in the original. Raises `ValueError`, without it.
    """
    parts = [part.strip() for part in text.split(",")]
    # of a login with a comma, a part is as little to be shown as all of it
    visible = without_logins(text, urls=True)
    shown = {part.strip() for part in visible.split(",")}
    endpoints = [_parse_endpoint(part, part if part in shown else visible, tls_given) for part in parts if part]
    return tuple(endpoints) or (_parse_endpoint(DEFAULT_ENDPOINT, DEFAULT_ENDPOINT, False),)


def _parse_endpoint(url: str, shown: str, tls_given: bool) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = ("https" if tls_given else "http"), url
    if scheme not in ("http", "https"):
        raise ValueError(f"etcd endpoint {shown!r}: the scheme is neither http nor https")
    authority, _, path = rest.partition("/")
    if "@" in path:
        raise ValueError(f"etcd endpoint {shown!r}: a login stands in ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD")
    authority = authority.rpartition("@")[2]
    host, colon, port = authority, "", ""
    if ":" in authority.rpartition("]")[2]:
        host, colon, port = authority.rpartition(":")
    if not host or any(each.isspace() for each in host):
        raise ValueError(f"etcd endpoint {shown!r} names no host")
    if colon and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MOST_PORT):
        raise ValueError(f"etcd endpoint {shown!r}: the port must be between 1 and {_MOST_PORT}")
    return Endpoint(authority if colon else f"{authority}:{DEFAULT_PORT}", scheme == "https")
