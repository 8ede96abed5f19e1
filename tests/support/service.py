"""dynamo-fe.service on a machine of tests.support.nspawn."""

from __future__ import annotations

import json
import urllib.request
from typing import Final

from tests.support.nspawn import Machine

MODEL: Final = "hello"
UNIT: Final = "dynamo-fe.service"
CONFIGURATION: Final = "/etc/dynamo-fe/dynamo-fe.toml"
_STORE: Final = 'discovery_backend = "file"\nfile_kv = "/run/dynamo-fe/kv"\n'
_ENVIRONMENT: Final = "DYN_DISCOVERY_BACKEND=file\nDYN_FILE_KV=/run/dynamo-fe/kv\n"

# The heartbeat's own limit is shorter than the watchdog's, as it is by default. A container with cgroups of version 1
# is not told that the last process has gone, so that after a watchdog's end all of the time to stop goes by.
_QUICK: Final = """[Service]
WatchdogSec=10
TimeoutStopSec=8
Environment=DYN_FE_HEARTBEAT_TIMEOUT_SECS=5
"""


class Service:
    """Its socket is on `port` of 127.0.0.1, which the host shares with the machine."""

    def __init__(self, machine: Machine, port: int) -> None:
        self.machine = machine
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def configure(self, more: str = "workers = 2\n") -> None:
        """Writes its configuration file."""
        self.machine.write(CONFIGURATION, _STORE + more)

    def start(self) -> None:
        """Waits until it serves the model of a mock worker."""
        self.configure()
        self.machine.write("/etc/dynamo-fe/mock.env", _ENVIRONMENT)
        self.drop_in("dynamo-fe.socket", f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{self.port}\n")
        self.drop_in(UNIT, _QUICK)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "start", "dynamo-fe.socket", UNIT, f"dynamo-fe-mock@{MODEL}.service")
        # by both serving processes: each connection goes to one of them
        self.machine.until(lambda: all(MODEL in self.models() for _ in range(8)), "the model is listed")

    def stop(self) -> None:
        self.machine.run("systemctl", "stop", "dynamo-fe.socket", UNIT, f"dynamo-fe-mock@{MODEL}.service", check=False)
        self.machine.run("systemctl", "reset-failed", check=False)
        self.machine.run("find", "/etc/dynamo-fe/credentials", "-type", "f", "-delete", check=False)

    def drop_in(self, unit: str, text: str) -> None:
        self.machine.write(f"/etc/systemd/system/{unit}.d/test.conf", text)

    def models(self) -> set[str]:
        try:
            with urllib.request.urlopen(f"{self.url}/v1/models", timeout=30) as answer:
                return {entry["id"] for entry in json.load(answer)["data"]}
        except OSError:
            return set()

    def main_pid(self) -> int:
        """As the machine counts."""
        return int(self.machine.show(UNIT, "MainPID"))

    def children(self) -> list[int]:
        """Process ids of the serving processes, as the host counts."""
        pid = self.machine.host_pid(self.main_pid())
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
