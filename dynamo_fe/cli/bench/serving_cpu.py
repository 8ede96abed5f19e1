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

_PROC: Final = Path("/proc")
_TICKS_PER_SEC: Final = os.sysconf("SC_CLK_TCK")
# state of a listening socket in /proc/net/tcp
_LISTENING: Final = "0A"
# they hold sockets for others
_HOLDERS: Final = frozenset({"systemd", "docker-proxy"})


class Unknown(Exception):
    """It cannot be said; the text is the reason."""


class ServingCpu:
    """The processes that listen on a port and all below them, without mock workers; `processes` at the last look."""

    def __init__(self, roots: Iterable[int]) -> None:
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
        roots = _listeners(port)
        if not roots:
            raise Unknown("the processes that listen belong to another user or container")
        return cls(roots)

    def look(self) -> None:
        """A process that ends between two looks is counted up to the first of them."""
        self.processes = 0
        for pid in _tree(self._roots):
            fields = _stat(pid)
            if len(fields) < 20 or _comm(pid) == MOCK_WORKER_NAME:
                continue
            self.processes += 1
            key, ticks = (pid, fields[19]), int(fields[11]) + int(fields[12])
            # one that came later has spent everything on us
            first = self._seen[key][0] if key in self._seen else 0 if self._begun else ticks
            self._seen[key] = (first, ticks)
        self._begun = True

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


def _listeners(port: int) -> set[int]:
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    found = set()
    for pid in _pids():
        try:
            held = {os.readlink(f"/proc/{pid}/fd/{entry}") for entry in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        if held & links and _comm(pid) not in _HOLDERS:
            found.add(pid)
    return found


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        inodes |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    return inodes


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


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]


def _comm(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """The fields from `state` on; none when the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
