"""A small cluster of one test: a store, workers and frontends on it, all stopped at its end in reverse order."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.frontends import Frontend, our_frontend, real_frontend
from tests.support.mock_workers import mock_worker
from tests.support.models import TINY_MODEL_DIR
from tests.support.peer import Mocker, ScriptedWorker
from tests.support.processes import Process
from tests.support.stores import Store


class Cluster:
    """Starts processes on one store. As a context manager it stops them all."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store = store
        self.home = home
        self._started = contextlib.ExitStack()
        self._count = 0

    def mocker(self, name: str = "mock", model_dir: Path = TINY_MODEL_DIR, **options: Any) -> Mocker:
        """A real mocker (see tests.support.peer.Mocker), waited for."""
        mocker = Mocker(self.store, model_dir, log=self._log("mocker"), name=name, **options)
        self._started.callback(mocker.stop)
        mocker.wait_ready()
        return mocker

    def scripted_worker(
        self, name: str = "tiny", model_dir: Path = TINY_MODEL_DIR, control: str | None = None, **options: Any
    ) -> ScriptedWorker:
        """A real worker that says what it is told, waited for; `control` tells workers of one name apart."""
        folder = self.home / f"control-{control or name}"
        worker = ScriptedWorker(self.store, model_dir, folder, name=name, **options)
        self._started.callback(worker.stop)
        worker.wait_ready()
        return worker

    def mock_worker(self, *arguments: str, wait: bool = True) -> Process:
        """Our own mock worker; `wait`: until it is registered."""
        worker = mock_worker(self.store, self._log("mock-worker"), *arguments, wait=wait)
        self._started.callback(worker.stop)
        return worker

    def frontend(
        self,
        *models: str,
        arguments: Sequence[str] = (),
        command: Sequence[str | Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Frontend:
        """Our frontend, waited for until it lists the models."""
        variables = self.store.environment | (environment or {})
        frontend = our_frontend(variables, log=self._log("frontend"), arguments=arguments, command=command)
        return self._listed(frontend, models)

    def real_frontend(self, *models: str, arguments: Sequence[str] = ()) -> Frontend:
        """The real one, likewise."""
        frontend = real_frontend(self.store.environment, log=self._log("real-frontend"), arguments=arguments)
        return self._listed(frontend, models)

    def stop(self) -> None:
        self._started.close()

    def _listed(self, frontend: Frontend, models: Sequence[str]) -> Frontend:
        self._started.callback(frontend.stop)
        frontend.wait_listed(*models)
        return frontend

    def _log(self, kind: str) -> Path:
        self._count += 1
        return self.home / f"{kind}-{self._count}.log"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
