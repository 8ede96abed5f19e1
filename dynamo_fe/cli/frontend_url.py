"""The address of a running frontend, as people write it."""

import urllib.parse

from dynamo_fe.config.logins import without_logins


def frontend_url(given: str) -> str:
    """With http:// where no scheme is given, without the /v1 that clients want. Raises ValueError, one line."""
    url = (given if "://" in given else f"http://{given}").rstrip("/").removesuffix("/v1")
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    shown = without_logins(given, urls=True)
    if shown != given:
        raise ValueError(f"--url {shown}: no frontend asks for a login")
    if not usable:
        raise ValueError(f"--url {given}: not an http:// or https:// address")
    return url
