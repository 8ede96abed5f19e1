"""What a frontend's serving processes hold: memory, open files and CPU time, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.frontends import Frontend


def _serving(frontend: Frontend) -> list[str]:
    supervisor = frontend.process.pid
    return Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()


def resident_mib(frontend: Frontend) -> float:
    """Resident memory of its serving processes together."""
    pages = [int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in _serving(frontend)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def open_files(frontend: Frontend) -> int:
    """Descriptors of its serving processes together."""
    return sum(len(os.listdir(f"/proc/{process}/fd")) for process in _serving(frontend))


def serving_cpu_secs(frontend: Frontend) -> float:
    """CPU time of its serving processes since they began."""
    stats = [Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split() for process in _serving(frontend)]
    return sum(int(ticks) for fields in stats for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")
