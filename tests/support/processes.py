"""Programs started for a test: each in a session of its own, its output in a file, ended by its process id."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

POLL_SECS = 0.02
# Handed out in turn, so that no two programs of a run get the same, from below those that the kernel gives to whoever
# connects: one of these may be taken again before the program listens. A real worker reads its port into 16 bits with
# sign, and a browser refuses 10080.
_FIRST_PORT, _END_PORT = 11_000, 32_000
_TURN = random.randrange(_FIRST_PORT, _END_PORT)
_PORTS = itertools.cycle([*range(_TURN, _END_PORT), *range(_FIRST_PORT, _TURN)])
# What would point a started program at somebody else's cluster.
FOREIGN_VARIABLES = ("DYN_", "ETCD_", "NATS_", "DYNAMO_FE_", "KUBE", "POD_", "CONTAINER_NAME")


class ProcessFailed(AssertionError):
    """The program ended, or did not get ready in time; the message holds the end of its output."""


def free_port() -> int:
    """A TCP port that nobody uses now."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many in a row."""
    while True:
        first, *others = (next(_PORTS) for _ in range(count))
        if others == list(range(first + 1, first + count)) and all(map(is_free, [first, *others])):
            return first


def is_free(port: int) -> bool:
    """Whether nobody uses the port now, on any address."""
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def children(pid: int) -> list[int]:
    """The processes that it has started and that have not been waited for."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def clean_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the variables that frontends and workers read, plus the additions."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    return kept | dict(additions)


class Process:
    """One started program. As a context manager it is stopped at the end, whatever happened."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(environment or {}),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def output(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_secs: float = 30.0) -> None:
        """Poll `ready` until it is true. Raises ProcessFailed when the program ends or the time is over before."""
        deadline = time.monotonic() + timeout_secs
        while not ready():
            if self.returncode is not None:
                raise ProcessFailed(self._report(f"ended with {self.returncode} before {what}"))
            if time.monotonic() > deadline:
                raise ProcessFailed(self._report(f"no {what} within {timeout_secs} s"))
            time.sleep(POLL_SECS)

    def wait_for_output(self, text: str, timeout_secs: float = 30.0) -> None:
        """Wait until `text` stands in its output."""
        self.wait_until(lambda: text in self.output(), f"{text!r} in its output", timeout_secs)

    def wait_for_exit(self, timeout_secs: float = 30.0) -> int:
        """Its exit code. Raises ProcessFailed when it still runs at the end of the time."""
        try:
            return self._popen.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(self._report(f"still running after {timeout_secs} s")) from None

    def send_signal(self, number: int) -> None:
        """Signal the program itself, not what it started."""
        self._popen.send_signal(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped by a signal while the `with` lasts."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the program itself and wait for it: a crash."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, timeout_secs: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for what is left of its session. Safe to call again."""
        if self.returncode is None:
            self._popen.terminate()
            try:
                self._popen.wait(timeout_secs)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _report(self, problem: str) -> str:
        return f"{' '.join(self.argv)}: {problem}\n--- end of {self.log} ---\n{self.output()[-4000:]}"

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
