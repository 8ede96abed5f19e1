"""The two frontends under test: ours (from the tree, or the frozen file) and the real one."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.peer import READY_SECS, ROOT, peer_python
from tests.support.processes import Process, free_port


class Frontend:
    """A frontend process on a free port of 127.0.0.1."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        self.port = free_port()
        argv = [*command, "--http-host", "127.0.0.1", "--http-port", str(self.port), *arguments]
        # The port need not stay open for a load balancer to notice.
        quick = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "0", "DYN_FE_DRAIN_ACCEPT_SECS": "0"}
        self.process = Process(argv, log=log, environment=quick | dict(environment), cwd=ROOT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def models(self) -> set[str]:
        """Names that /v1/models lists now; empty while it does not listen yet."""
        try:
            with urllib.request.urlopen(f"{self.url}/v1/models", timeout=30) as answer:
                return {entry["id"] for entry in json.load(answer)["data"]}
        except OSError:
            return set()

    def wait_listed(self, *names: str, timeout_secs: float = READY_SECS) -> None:
        """Wait until all these models are listed."""
        self.process.wait_until(lambda: self.models() >= set(names), f"{names} in /v1/models", timeout_secs)

    def stop(self) -> None:
        self.process.stop()


def frozen_binary() -> Path:
    """The one-file build: DYNAMO_FE_BINARY, else dist/dynamo-fe."""
    path = Path(os.environ.get("DYNAMO_FE_BINARY") or ROOT / "dist" / "dynamo-fe")
    assert path.exists(), f"{path} does not exist; make it with: make freeze"
    return path


def our_command() -> list[str | Path]:
    """How our frontend is started: the tree, unless DYNAMO_FE_BINARY names a frozen file."""
    binary = os.environ.get("DYNAMO_FE_BINARY")
    return [binary] if binary else [sys.executable, "-m", "dynamo_fe"]


def our_frontend(
    environment: Mapping[str, str],
    *,
    log: Path,
    arguments: Sequence[str] = (),
    command: Sequence[str | Path] | None = None,
) -> Frontend:
    return Frontend(command or our_command(), log=log, environment=environment, arguments=arguments)


def real_frontend(environment: Mapping[str, str], *, log: Path, arguments: Sequence[str] = ()) -> Frontend:
    command = [peer_python(), "-m", "dynamo.frontend"]
    return Frontend(command, log=log, environment=environment, arguments=arguments)
