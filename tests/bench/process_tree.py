"""What /proc says of a process and all its descendants."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Resident and proportional set size, MB."""

    rss_mb: float
    pss_mb: float


@dataclass(frozen=True)
class ThreadTimes:
    """CPU seconds of one thread since it started, and how often it went to sleep or was pre-empted."""

    name: str
    user_secs: float
    system_secs: float
    voluntary_switches: int
    involuntary_switches: int


def descendants(pid: int) -> list[int]:
    """The process itself, then everything below it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(entry / "stat")):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_secs(pid: int) -> float:
    """User and system time of the tree, with that of the root's reaped children."""
    ticks = 0
    for member in descendants(pid):
        fields = _stat_fields(PROC / str(member) / "stat")
        if fields:
            ticks += sum(int(field) for field in (fields[11:15] if member == pid else fields[11:13]))
    return ticks / TICKS_PER_SEC


def memory(pid: int) -> Memory:
    """Of the tree."""
    each = [process_memory(member) for member in descendants(pid)]
    return Memory(sum(memory.rss_mb for memory in each), sum(memory.pss_mb for memory in each))


def process_memory(pid: int) -> Memory:
    """Of one process; nothing when it is gone."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return Memory(0.0, 0.0)
    rss, pss = (re.search(rf"^{name}:\s+(\d+)", text, re.M) for name in ("Rss", "Pss"))
    return Memory(int(rss[1]) / 1024 if rss else 0.0, int(pss[1]) / 1024 if pss else 0.0)


def peak_rss_mb(pid: int) -> float:
    """The most that one process ever had resident; 0 when it is gone."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+)", (PROC / str(pid) / "status").read_text(), re.M)
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def threads(pid: int) -> dict[int, ThreadTimes]:
    """Times of every thread of one process, by thread id."""
    times = {}
    for task in (PROC / str(pid) / "task").iterdir():
        fields = _stat_fields(task / "stat")
        if not fields:
            continue
        status = (task / "status").read_text()
        voluntary, involuntary = (
            int(number) for number in re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", status, re.M)
        )
        user, system = (int(ticks) / TICKS_PER_SEC for ticks in fields[11:13])
        name = (task / "comm").read_text().strip()
        times[int(task.name)] = ThreadTimes(name, user, system, voluntary, involuntary)
    return times


def _stat_fields(path: Path) -> list[str]:
    """The fields of a stat file from `state` on; none when the process is gone."""
    try:
        return path.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []
