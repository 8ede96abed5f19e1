"""The processes of this host, as far as they may be looked at (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# state of a listening socket in /proc/net/tcp
_LISTENING: Final = "0A"
# they hold sockets for others
_HOLDERS: Final = frozenset({"systemd", "docker-proxy"})


def listeners(port: int) -> set[int]:
    """The processes that listen on the TCP port."""
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    found = set()
    for pid in _pids():
        try:
            held = {os.readlink(f"/proc/{pid}/fd/{entry}") for entry in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        if held & links and name_of(pid) not in _HOLDERS:
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


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]


def name_of(pid: int) -> str:
    """What ps calls it; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def stat_of(pid: int) -> list[str]:
    """The fields from `state` on; none when the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
