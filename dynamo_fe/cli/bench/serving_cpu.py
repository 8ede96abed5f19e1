"""CPU time of the processes that serve an address, where they run on this host and may be looked at (proc(5))."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dynamo_fe.appliance.process_name import MOCK_WORKER_NAME
from dynamo_fe.cli.proc import listeners, name_of, stat_of

_PROC: Final = Path("/proc")
_TICKS_PER_SEC: Final = os.sysconf("SC_CLK_TCK")


class Unknown(Exception):
    """It cannot be said; the text is the reason."""


class ServingCpu:
    """The processes that listen on a port and all below them, without mock workers. `processes` are those that serve
    there at the last look: one that keeps the socket for its children does not.
    """

    def __init__(self, port: int, roots: Iterable[int]) -> None:
        self._port = port
        self._roots = frozenset(roots)
        # (process, its start) -> ticks at the first and at the last look
        self._seen: dict[tuple[int, str], tuple[int, int]] = {}
        self._begun = False
        self.processes = 0

    @classmethod
    def of(cls, host: str, port: int) -> ServingCpu:
        """Raises Unknown."""
        if not _is_here(host):
            raise Unknown("the frontend runs on another host")
        roots = listeners(port)
        if not roots:
            raise Unknown("the processes that listen belong to another user or container")
        return cls(port, roots)

    def look(self) -> None:
        """A process that ends between two looks is counted up to the first of them."""
        for pid in _tree(self._roots):
            fields = stat_of(pid)
            if len(fields) < 20 or name_of(pid) == MOCK_WORKER_NAME:
                continue
            key, ticks = (pid, fields[19]), int(fields[11]) + int(fields[12])
            # one that came later has spent everything on us
            first = self._seen[key][0] if key in self._seen else 0 if self._begun else ticks
            self._seen[key] = (first, ticks)
        self._begun = True
        listening = listeners(self._port)
        self.processes = len(listening - {int(parent) for pid in listening for parent in stat_of(pid)[1:2]})

    @property
    def secs(self) -> float:
        """User and system time between the first look and the last."""
        return sum(last - first for first, last in self._seen.values()) / _TICKS_PER_SEC


def _is_here(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_own(str(address[0])) for *_, address in found)


def _is_own(address: str) -> bool:
    """A loopback address, or one that a socket can be bound to."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _tree(roots: Iterable[int]) -> set[int]:
    found: set[int] = set()
    ahead = list(roots)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    """Of all its threads."""
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(_PROC / str(pid) / "task"):
            words = (_PROC / str(pid) / "task" / thread / "children").read_text().split()
            found += [int(word) for word in words]
    return found
