"""Runs wrk with load.lua and reads its report."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
TOKENS = {"stream128": 128, "unary1": 1, "long8k": 1, "shared8k": 1}
# A prompt of 8,000 words costs milliseconds of CPU: more at once would measure the queue.
CONNECTIONS = {"stream128": 128, "unary1": 64, "long8k": 8, "shared8k": 8}


@dataclass(frozen=True)
class Report:
    """`errors` counts answers other than 2xx and 3xx, and failures of sockets."""

    requests: int
    secs: float
    errors: int
    p99: str


def load(url: str, scenario: str, *, model: str, secs: int, seed: int) -> Report:
    """Raises AssertionError when wrk is missing or says nothing that can be read."""
    program = shutil.which("wrk")
    assert program is not None, "wrk is not installed: packaging/prepare.sh tools"
    command = [program, "-t1", f"-c{CONNECTIONS[scenario]}", f"-d{secs}s", "--timeout", "30s", "--latency"]
    command += ["-s", str(SCRIPT), f"{url}/v1/chat/completions"]
    environment = os.environ | {"SCENARIO": scenario, "MODEL": model, "SEED": str(seed)}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    done = re.search(r"(\d+) requests in ([\d.]+)s", text)
    p99 = re.search(r"99%\s+(\S+)", text)
    assert done and p99, text
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    errors = int(bad[1]) if bad else 0
    errors += sum(int(number) for number in re.findall(r"\d+", sockets[1])) if sockets else 0
    return Report(int(done[1]), float(done[2]), errors, p99[1])
