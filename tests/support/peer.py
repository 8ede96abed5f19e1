"""The real Dynamo 1.6.1: its mocker, its frontend, and a worker on its Python API that says what a test tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import Process, ProcessFailed
from tests.support.stores import Store, registered

ROOT = Path(__file__).parent.parent.parent
SCRIPTED_WORKER = Path(__file__).parent / "scripted_worker.py"
# Importing the real runtime takes seconds on a busy machine.
READY_SECS = 90.0


def peer_python() -> Path:
    """The interpreter that has ai-dynamo 1.6.1: PEER_PYTHON, else .venv-peer. Raises ProcessFailed if there is none."""
    path = Path(os.environ.get("PEER_PYTHON") or ROOT / ".venv-peer" / "bin" / "python")
    if not path.exists():
        raise ProcessFailed(f"{path} does not exist; make it with: packaging/prepare.sh peer")
    return path


class PeerWorker:
    """A real worker process; ready when its card and its endpoint stand in the store."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        store: Store,
        endpoint: str,
        *,
        log: Path,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.endpoint = endpoint
        self._workers = workers
        self._before = registered(store.keys(), endpoint)
        self.process = Process(argv, log=log, environment=store.environment | dict(environment or {}))

    def wait_ready(self) -> None:
        self.process.wait_until(self._all_registered, "registration", READY_SECS)

    def _all_registered(self) -> bool:
        return len(registered(self.store.keys(), self.endpoint) - self._before) >= self._workers

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        self.process.stop()


class Mocker(PeerWorker):
    """`python -m dynamo.mocker`; `speedup_ratio` 1 paces tokens like a GPU would, 0 does not wait at all."""

    def __init__(
        self,
        store: Store,
        model_dir: Path,
        *,
        log: Path,
        name: str = "mock",
        speedup_ratio: float = 1.0,
        workers: int = 1,
        endpoint: str = "dyn://dynamo.backend.generate",
        arguments: Sequence[str] = (),
    ) -> None:
        argv: list[str | Path] = [peer_python(), "-m", "dynamo.mocker", "--model-path", model_dir, "--model-name", name]
        argv += ["--discovery-backend", store.backend, "--speedup-ratio", str(speedup_ratio)]
        argv += ["--num-workers", str(workers), "--endpoint", endpoint, *arguments]
        super().__init__(argv, store, endpoint, log=log, workers=workers)


class ScriptedWorker(PeerWorker):
    """tests/support/scripted_worker.py: plays what `say()` gave it and writes down what it was asked."""

    def __init__(
        self,
        store: Store,
        model_dir: Path,
        control: Path,
        *,
        name: str = "tiny",
        endpoint: str = "dyn://llmfx.tiny.generate",
        block_size: int = 16,
        runtime_config: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        control.mkdir(parents=True, exist_ok=True)
        self.control = control
        self._gate = control / "let-go"
        argv: list[str | Path] = [peer_python(), SCRIPTED_WORKER, "--model-path", model_dir, "--model-name", name]
        argv += ["--control", control, "--endpoint", endpoint, "--block-size", str(block_size)]
        argv += ["--runtime-config", json.dumps(runtime_config or {}), *arguments]
        super().__init__(argv, store, endpoint, log=control / "worker.log", environment=environment)

    @property
    def held(self) -> dict[str, str]:
        """An entry of a script that lasts until `let_go()`."""
        return {"!wait_file": str(self._gate)}

    def let_go(self) -> None:
        """From here on until the next `say()`, what is held goes on at once."""
        self._gate.touch()

    def say(self, script: Any) -> None:
        """The script of the coming requests (scripted_worker.py tells its form); None: echo the prompt."""
        self._gate.unlink(missing_ok=True)
        path = self.control / "say.json"
        if script is None:
            path.unlink(missing_ok=True)
            return
        draft = self.control / "say.json.new"
        draft.write_text(json.dumps(script))
        draft.replace(path)

    def forget(self) -> None:
        """Empty the list that `saw()` reads."""
        (self.control / "saw.jsonl").write_text("")

    def saw(self) -> list[dict[str, Any]]:
        """Every line it has written down: requests (key "request") and their ends (key "end")."""
        path = self.control / "saw.jsonl"
        if not path.exists():
            return []
        # The last line may be half written.
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def requests(self) -> list[dict[str, Any]]:
        return [entry for entry in self.saw() if "request" in entry]

    def ends(self) -> list[dict[str, Any]]:
        return [entry for entry in self.saw() if entry.get("end")]

    def wait_for(self, entries: int, ends: int = 0) -> None:
        """Wait until it has seen so many requests and so many of them have ended."""
        self.process.wait_until(
            lambda: len(self.requests()) >= entries and len(self.ends()) >= ends, f"{entries} requests, {ends} ends"
        )
