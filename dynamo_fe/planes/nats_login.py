"""Where NATS servers are and how one is let in: what can be said of it without a connection."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from dynamo_fe.config.reading import read_file

# what the original says when no credentials are set; a server without authorization takes it
DEFAULT_USER: Final = "user"
_PORT: Final = 4222


class NatsOptions(Protocol):
    """Where the servers are and how one is let in; of the ways, the first that is set counts."""

    @property
    def connect_timeout_secs(self) -> float: ...
    @property
    def servers(self) -> tuple[str, ...]: ...
    @property
    def username(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...
    @property
    def nkey_seed(self) -> str | None: ...
    @property
    def credentials_file(self) -> str | None: ...
    @property
    def connect_tls(self) -> ssl.SSLContext | None: ...


def place_of(server: str) -> str:
    """HOST:PORT of a server's URL, without the login that may stand in it."""
    url = urlsplit(server if "://" in server else f"nats://{server}")
    host = url.hostname or "localhost"
    return f"[{host}]:{url.port or _PORT}" if ":" in host else f"{host}:{url.port or _PORT}"


def check_servers(servers: Sequence[str]) -> None:
    """Raises ValueError for a URL that no NATS server can have; the text has nothing of its login."""
    for server in servers:
        url = urlsplit(server if "://" in server else f"nats://{server}")
        if url.scheme not in ("nats", "tls"):
            named = f" {url.scheme}://..." if "@" not in server else ""
            raise ValueError(f"NATS server{named}: the scheme is neither nats nor tls")
        if "@" in f"{url.path}{url.query}{url.fragment}":
            raise ValueError("NATS server: a login with / ? or # stands in NATS_AUTH_USERNAME and NATS_AUTH_PASSWORD")
        try:
            found = url.hostname is not None and url.port != 0
        except ValueError:
            found = False
        if not found:
            raise ValueError("NATS server: a URL without host, or with a port that is none")


def credentials(options: NatsOptions) -> dict[str, Any]:
    """nats-py's words for the first way in that is set. Raises ValueError for one that can never work."""
    if options.username is not None and options.password is not None:
        return {"user": options.username, "password": options.password}
    if options.token is not None:
        return {"token": options.token}
    if options.nkey_seed is not None:
        _check_seed(options.nkey_seed)
        return {"nkeys_seed_str": options.nkey_seed}
    if options.credentials_file is not None:
        try:
            text = read_file(options.credentials_file)
        except OSError as error:
            raise ValueError(f"NATS credentials file {options.credentials_file}: {error.strerror}") from None
        if b"BEGIN NATS USER JWT" not in text or b"BEGIN USER NKEY SEED" not in text:
            raise ValueError(f"NATS credentials file {options.credentials_file} holds no user JWT and NKey seed")
        return {"user_credentials": options.credentials_file}
    if any(urlsplit(server).username for server in options.servers):
        return {}
    return {"user": DEFAULT_USER, "password": DEFAULT_USER}


def _check_seed(seed: str) -> None:
    import nkeys

    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        raise ValueError(f"NATS_AUTH_NKEY holds no NKey seed: {error}") from None
