"""Where a host name leads, and the places that nobody may be led to.

A client that names a picture must not have the frontend look around inside: a name is looked up here, all that it
stands for must be public, and the connection goes to what was looked up, so that no second answer can change it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from typing import Final

_KEPT_SECS: Final = 30.0
_MOST_KEPT: Final = 1024
# each holds a thread until the resolver of the system gives up
_MOST_LOOKUPS: Final = 16
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """The address leads, or is led on, to a place that is not public."""


class HostGuard:
    """Belongs to one event loop. With `allow_internal` every place is public."""

    def __init__(self, allow_internal: bool) -> None:
        self.allow_internal = allow_internal
        self._known: dict[str, tuple[list[str], float]] = {}
        self._lookups = 0
        self._tls: ssl.SSLContext | None = None

    async def tls(self) -> ssl.SSLContext:
        """Trusts whom the system trusts. Made in a thread at its first use: reading them takes up to 50 ms."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def places(self, host: str) -> list[str]:
        """The IP addresses of a host. Raises Forbidden, and OSError for a name that cannot be looked up."""
        known = self._known.get(host)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        found = await self._look_up(host)
        if not self.allow_internal and not all(map(is_public, found)):
            raise Forbidden(f"{host} is not public")
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[host] = found, time.monotonic() + _KEPT_SECS
        return found

    async def _look_up(self, host: str) -> list[str]:
        """In a thread of its own: nobody else has to wait for a resolver that hangs."""
        if self._lookups >= _MOST_LOOKUPS:
            raise OSError("too many names are being looked up")
        self._lookups += 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str], error: OSError | None) -> None:
            self._lookups -= 1
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(found)

        def run() -> None:
            found: list[str] = []
            error: OSError | None = None
            try:
                found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
            except OSError as failure:
                error = failure
            except UnicodeError as failure:
                error = OSError(str(failure))
            # the loop may have ended meanwhile
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found, error)

        threading.Thread(target=run, name="picture-host", daemon=True).start()
        return await done


def is_public(text: str) -> bool:
    """Whether an IP address, and every other one that it carries, is of the public internet."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(found.is_global and not found.is_multicast for found in (address, *_carried(address)))


def _carried(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    carried: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [found for found in carried if found is not None]
