"""The listening sockets: one a worker, all on one port, made and kept by the supervisor.

As the supervisor holds them, connections that wait in the queue of a worker that died are served by its successor.
"""

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final, NamedTuple

from dynamo_fe.appliance.lock import PortLock
from dynamo_fe.appliance.steering import steer

_SockAddr = tuple[str, int] | tuple[str, int, int, int]


# SD_LISTEN_FDS_START
_FIRST_PASSED: Final = 3


class ListenError(Exception):
    """The port cannot be listened on. `str()` is one line for the operator."""


class Listeners:
    """`sockets[i]` is worker i's. `host` and `port` are what they are bound to; for port 0, the port chosen.

    `inherited`: they belong to the service manager, which keeps them open when we end. Others need a `lock`.
    """

    def __init__(self, sockets: Sequence[socket.socket], lock: PortLock | None) -> None:
        self.sockets = list(sockets)
        self.inherited = lock is None
        name = self.sockets[0].getsockname()
        self.host: str = name[0]
        self.port: int = name[1]
        self._lock = lock
        self._steered = self._all

    @property
    def _all(self) -> frozenset[int]:
        return frozenset(range(len(self.sockets)))

    def steer(self, answered: frozenset[int]) -> None:
        """Has new connections go to those sockets, by their numbers, where somebody takes them; to all for none."""
        wanted = answered or self._all
        # an inherited one is the same for all, and whoever is free takes from it
        if wanted != self._steered and not self.inherited:
            self._steered = wanted
            steer(self.sockets[0], sorted(wanted), len(self.sockets))

    def keep_only(self, index: int) -> socket.socket:
        """For a forked child: closes all but its own, so that the port closes when the workers close it."""
        if self._lock is not None:
            self._lock.close()
        for other, listener in enumerate(self.sockets):
            if other != index:
                listener.close()
        return self.sockets[index]

    def close_sockets(self) -> None:
        """For the supervisor at shutdown: from then on the workers alone decide how long connections are taken."""
        for listener in self.sockets:
            listener.close()

    def close(self) -> None:
        self.close_sockets()
        if self._lock is not None:
            self._lock.close()


class Door(NamedTuple):
    """One of several sockets on one port."""

    listeners: Listeners
    number: int


def open_listeners(
    host: str, port: int, count: int, backlog: int, *, held: bool = False, flag: str = "--http-port"
) -> Listeners:
    """Binds `count` sockets to one port and listens on all of them; not where the port is only to be `held` for a child
    that binds it anew. `flag` is what the operator gave the port by.

    `host` is an address or a name; of a name that has both, the IPv4 address is taken. "::" listens on IPv4 too. Raises
    ListenError; for a port in use with the words of Dynamo 1.6.1.
    """
    family, address = _resolve(host, port)
    sockets: list[socket.socket] = []
    lock: PortLock | None = None
    try:
        if port:
            lock = PortLock(address[0], port)
        address = _probe(family, address)
        lock = lock or PortLock(address[0], address[1])
        for _ in range(count):
            sockets.append(_bind(family, address, shared=True))
            if not held:
                sockets[-1].listen(backlog)
                sockets[-1].setblocking(False)
    except OSError as error:
        for opened in sockets:
            opened.close()
        if lock is not None:
            lock.close()
        raise ListenError(_explain(error, host, port, flag)) from None
    return Listeners(sockets, lock)


def inherit_listeners(environ: MutableMapping[str, str], count: int) -> Listeners | None:
    """The listening socket that systemd passes by sd_listen_fds(3), for `count` workers to share; else None.

    The variables are taken out of the environment. Raises ListenError when it is no listening TCP socket, or not one.
    """
    passed, owner = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not passed.isdigit() or int(passed) == 0 or owner != str(os.getpid()):
        return None
    if int(passed) != 1:
        raise ListenError(f"Failed to start HTTP server: systemd passes {passed} sockets, one is expected")
    try:
        given = socket.socket(fileno=_FIRST_PASSED)
        listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"Failed to start HTTP server: the socket from systemd: {error.strerror}") from None
    if given.family not in (socket.AF_INET, socket.AF_INET6) or given.type != socket.SOCK_STREAM or not listens:
        raise ListenError("Failed to start HTTP server: the socket from systemd is not a TCP socket that listens")
    given.set_inheritable(False)
    given.setblocking(False)
    return Listeners([given, *(given.dup() for _ in range(count - 1))], None)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, _SockAddr]:
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ListenError(f"Failed to start HTTP server: cannot resolve host {host!r}: {reason}") from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]


def _bind(family: socket.AddressFamily, address: _SockAddr, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _probe(family: socket.AddressFamily, address: _SockAddr) -> _SockAddr:
    """The address with its final port. Bound without SO_REUSEPORT, this fails wherever anybody listens on the port."""
    with _bind(family, address, shared=False) as probe:
        probe.listen(1)
        bound: _SockAddr = probe.getsockname()
        return bound


def _explain(error: OSError, host: str, port: int, flag: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Failed to start HTTP server: port {port} already in use. Use {flag} to specify a different port."
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"Failed to start HTTP server: cannot listen on {host} port {port}: {reason}"
