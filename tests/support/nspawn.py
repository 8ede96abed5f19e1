"""A machine with a real systemd: a minimal Debian booted in a container that shares the host's network.

The root is made once by debootstrap and kept under build/roots; each machine runs on a copy.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.peer import ROOT

ROOTS: Final = ROOT / "build" / "roots"
SUITE: Final = "bookworm"
PACKAGES: Final = "systemd,systemd-sysv,dbus,libstdc++6"
BOOT_SECS: Final = 90.0
POLL_SECS: Final = 0.1


def debian_root(suite: str = SUITE, packages: str = PACKAGES) -> Path:
    """The folder of the pristine root; made if it is not there yet."""
    root = ROOTS / f"{suite}-{packages.replace(',', '-').replace('+', 'p')}"
    ROOTS.mkdir(parents=True, exist_ok=True)
    with (ROOTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            half = root.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            # The mirror that apt of this machine uses.
            command = ["debootstrap", "--variant=minbase", *([f"--include={packages}"] if packages else [])]
            subprocess.run([*command, suite, half, _mirror()], check=True, capture_output=True, text=True)
            shutil.rmtree(half / "var/cache/apt", ignore_errors=True)
            half.rename(root)
    return root


def _mirror() -> str:
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    sources = [line for line in done.stdout.split() if "security" not in line]
    return sources[0] if sources else "http://deb.debian.org/debian"


class Machine:
    """A booted container. `run` runs a command inside; as a context manager it is powered off at the end."""

    def __init__(self, home: Path) -> None:
        self.root = home / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", debian_root(), self.root], check=True)
        self._log = (home / "console.log").open("w")

    def __enter__(self) -> Machine:
        # The hosts of the tests have cgroups of both versions; the container's systemd needs the first.
        environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "0"}
        command = ["systemd-nspawn", "-D", self.root, "--register=no", "--keep-unit", "-b", "--console=pipe"]
        self._nspawn = subprocess.Popen(
            [*command, "systemd.unit=multi-user.target"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self.until(self._booted, "the machine has booted", BOOT_SECS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._init() is not None:
            self._inside("systemctl", "poweroff", "--no-block")
        init = self._init()
        try:
            self._nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
            if init is not None:
                os.kill(init, signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, *command: str, check: bool = True) -> str:
        """What it prints. With `check` it must end with 0."""
        done = self._inside(*command)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def code(self, *command: str) -> int:
        """Its exit code."""
        return self._inside(*command).returncode

    def write(self, path: str, text: str) -> None:
        """A file inside, with its folders."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def journal(self, unit: str, *options: str) -> str:
        """Its lines, with all that was said until now."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat", *options)

    def until(self, holds: Callable[[], bool], what: str, timeout_secs: float = 60.0) -> None:
        """Polls until it holds."""
        deadline = time.monotonic() + timeout_secs
        while not holds():
            assert self._nspawn.poll() is None, "the machine has ended"
            assert time.monotonic() < deadline, what
            time.sleep(POLL_SECS)

    def host_pid(self, pid: int) -> int:
        """The number that a process of the machine has outside."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    numbers = [line for line in (entry / "status").read_text().splitlines() if line.startswith("NSpid")]
                except OSError:
                    continue
                words = numbers[0].split()[1:] if numbers else []
                if len(words) > 1 and words[-1] == str(pid) and self._is_ours(int(entry.name)):
                    return int(entry.name)
        raise AssertionError(f"no process {pid} in the machine")

    def _is_ours(self, pid: int) -> bool:
        init = self._init()
        return init is not None and os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{init}/ns/pid")

    def _booted(self) -> bool:
        if self._init() is None:
            return False
        return self._inside("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def _init(self) -> int | None:
        pid = self._nspawn.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self._init()), "-m", "-p", "-u", "-i"]
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "TERM": "dumb"}
        return subprocess.run([*enter, *command], capture_output=True, text=True, env=plain, timeout=180)
