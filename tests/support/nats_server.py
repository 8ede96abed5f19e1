"""A real NATS server of one test."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.processes import Process, ProcessFailed, free_port
from tests.support.stores import FileStore, StoreWith


class NatsServer:
    """On a free port of 127.0.0.1; `arguments` as nats-server takes them."""

    def __init__(self, directory: Path, arguments: Sequence[str | Path] = ()) -> None:
        self.port = free_port()
        self._log = directory / "nats-server.log"
        self._arguments = arguments
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """For frontends and workers that are to send requests by it."""
        return {"DYN_REQUEST_PLANE": "nats", "NATS_SERVER": self.url}

    def start(self) -> None:
        """Start it (again) and wait until it listens."""
        program = shutil.which("nats-server")
        if program is None:
            raise ProcessFailed("nats-server is not installed: packaging/prepare.sh tools")
        argv = [program, "--addr", "127.0.0.1", "--port", str(self.port), *self._arguments]
        self._process = Process(argv, log=self._log)
        self._process.wait_until(self._listens, "listening NATS server")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


@contextlib.contextmanager
def store_with_events(plane: str, home: Path) -> Iterator[StoreWith]:
    """A file store whose processes send events by this plane; `nats` comes with a server."""
    store = FileStore(home / "store")
    if plane != "nats":
        yield StoreWith(store, {"DYN_EVENT_PLANE": plane})
        return
    server = NatsServer(home)
    server.start()
    try:
        yield StoreWith(store, {"DYN_EVENT_PLANE": plane, "NATS_SERVER": server.url})
    finally:
        server.stop()
