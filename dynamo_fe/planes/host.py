"""The address that a listener of ours binds and tells to others."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from typing import Final

# From linux/sockios.h.
_SIOCGIFADDR: Final = 0x8915


def resolve_host(wanted: str | None) -> str:
    """The address to listen on and to name to others: an IP, an interface's IP, or a local one that is not loopback.

    Raises ValueError for an unspecified address (0.0.0.0, ::) and for what is neither an address nor an interface.
    """
    if not wanted:
        return _local_address()
    text = "127.0.0.1" if wanted == "localhost" else wanted.strip("[]")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _interface_address(wanted)
    if address.is_unspecified:
        raise ValueError(f"call-back host {wanted} names no address that others could connect to")
    return text


def _local_address() -> str:
    """The address that packets to elsewhere would carry; connecting a datagram socket sends none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        host: str = probe.getsockname()[0]
    return host if host != "0.0.0.0" else "127.0.0.1"


def _interface_address(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            raise ValueError(f"call-back host {name} is neither an IP address nor an interface with one") from None
    return socket.inet_ntoa(answer[20:24])
