"""Addresses of media as the original reads and writes them, and those that it lets nobody fetch.

Source: the URL standard (url.spec.whatwg.org) in the parts that reach a worker, and the media loader of Dynamo 1.6.1:
pictures may not be named by an IP address, a port or a name of the cluster's own, so that no client has a worker look
around inside.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_INTERNAL_NAMES: Final = frozenset(
    (
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "metadata.google.internal",
        "metadata.goog",
        "kubernetes.default",
        "kubernetes.default.svc",
    )
)
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_ENDS: Final = "".join(map(chr, range(0x21)))
_LEFT_OUT: Final = str.maketrans("", "", "\t\n\r")
_PARTS: Final = re.compile(r"[/\\]*([^/\\?#]*)([^?#]*)(.*)\Z", re.DOTALL)
_PORT: Final = re.compile(r":([0-9]*)\Z")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20#/:<>?@\[\\\]^|%\x7f]")
_NUMBER: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)\Z")
_PATH_SAFE: Final = "/%!$&'()*+,-.:;=@[\\]^_|~"
_QUERY_SAFE: Final = "/%!$&()*+,-.:;=@[\\]^_|~?#{}`"
_MOST_PORT: Final = 65535
_IPV4_PARTS: Final = 4


class NoUrl(ValueError):
    """The text is no address."""


def media_url(text: str) -> tuple[str, bool]:
    """The address as workers get it, and whether it points inside: at an IP address, a port or an internal name. Raises
    NoUrl.
    """
    text = text.strip(_ENDS).translate(_LEFT_OUT)
    found = _SCHEME.match(text)
    if found is None:
        raise NoUrl("no scheme")
    scheme, rest = text[: found.end() - 1].lower(), text[found.end() :]
    if scheme not in _DEFAULT_PORTS:
        return f"{scheme}:{rest}", False
    parts = _PARTS.match(rest)
    assert parts is not None
    user, at, place = parts[1].rpartition("@")
    port = _PORT.search(place)
    host, is_address = _host(place[: port.start()] if port is not None else place)
    number = port[1].lstrip("0") or "0" if port is not None and port[1] else ""
    if number and int(number) > _MOST_PORT:
        raise NoUrl("a port beyond 65535")
    shown_port = f":{number}" if number and number != _DEFAULT_PORTS[scheme] else ""
    path, query = parts[2].replace("\\", "/") or "/", parts[3]
    written = f"{quote(path, safe=_PATH_SAFE)}{quote(query, safe=_QUERY_SAFE)}"
    internal = is_address or bool(shown_port) or host.rstrip(".") in _INTERNAL_NAMES
    return f"{scheme}://{user}{at}{host}{shown_port}{written}", internal


def _host(text: str) -> tuple[str, bool]:
    """The host as it is written, and whether it is an IP address."""
    if text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]", True
        except ValueError as error:
            raise NoUrl(str(error)) from error
    name = unquote_to_bytes(text).decode("utf-8", "replace").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise NoUrl(str(error)) from error
    if not name or _FORBIDDEN.search(name):
        raise NoUrl("no host")
    parts = name.removesuffix(".").split(".")
    return (_ipv4(parts), True) if _NUMBER.match(parts[-1]) else (name, False)


def _ipv4(parts: list[str]) -> str:
    """Of one to four parts, each decimal, octal or hexadecimal; the last fills what the others leave."""
    if len(parts) > _IPV4_PARTS or not all(_NUMBER.match(part) for part in parts):
        raise NoUrl("no IPv4 address")
    try:
        *first, last = map(_value, parts)
    except ValueError as error:
        raise NoUrl(str(error)) from error
    if any(number > 0xFF for number in first) or last >= 256 ** (5 - len(parts)):
        raise NoUrl("no IPv4 address")
    return str(ipaddress.IPv4Address(sum(number << 8 * (3 - at) for at, number in enumerate(first)) + last))


def _value(part: str) -> int:
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)
