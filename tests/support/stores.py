"""The discovery stores a test can run on, a fresh one each: a directory, or a real etcd."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.kube_server import KubePod
from tests.support.processes import Process, ProcessFailed, free_port

# Without it a frontend or worker on etcd looks for a NATS server for its events.
COMMON_ENVIRONMENT = {"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq"}


def registered(keys: list[str], endpoint: str) -> set[str]:
    """Hex ids of the workers that have published both a model card and the endpoint (dyn://a.b.c) that serves it."""
    below = endpoint.removeprefix("dyn://").replace(".", "/") + "/"
    cards, instances = (
        {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
        for prefix in (f"v1/mdc/{below}", f"v1/instances/{below}")
    )
    return cards & instances


class FileStore:
    """File discovery in a directory of its own."""

    backend = "file"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return COMMON_ENVIRONMENT | {"DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(self.directory)}

    def keys(self) -> list[str]:
        """All keys, in the spelling that etcd has: v1/instances/namespace/component/endpoint/id."""
        files = (path for path in self.directory.glob("v1/*/*") if path.is_file())
        return [f"v1/{path.parent.name}/{urllib.parse.unquote(path.name)}" for path in files]


class EtcdServer:
    """A real etcd on free ports. Its data outlive `kill()` and `start()`, unless `wipe()` is called between."""

    backend = "etcd"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client_port = free_port()
        self.peer_port = free_port()
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def environment(self) -> dict[str, str]:
        return COMMON_ENVIRONMENT | {"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": self.endpoint}

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        program = shutil.which("etcd")
        if program is None:
            raise ProcessFailed("etcd is not installed: packaging/prepare.sh tools")
        peer = f"http://127.0.0.1:{self.peer_port}"
        argv = [program, "--data-dir", self.directory / "data", "--name", "test"]
        argv += ["--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}"]
        self._process = Process(argv, log=self.directory / "etcd.log")
        self._process.wait_until(self.healthy, "healthy etcd")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=1) as answer:
                return json.load(answer).get("health") in ("true", True)
        except (OSError, ValueError):
            return False

    def kill(self) -> None:
        """A crash: SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def wipe(self) -> None:
        """Forget all data; only while it is down."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def keys(self) -> list[str]:
        """All keys below v1/, by etcd's JSON gateway."""
        return [base64.b64decode(entry["key"]).decode() for entry in self._entries(keys_only=True)]

    def records(self) -> dict[str, Any]:
        """What stands there, decoded."""
        entries = ((base64.b64decode(entry["key"]), base64.b64decode(entry["value"])) for entry in self._entries())
        return {key.decode(): json.loads(value) for key, value in entries}

    def replace(self, key: str, record: Any) -> None:
        """Another record in the place of one, under its lease."""
        texts = {"key": key.encode(), "value": json.dumps(record).encode()}
        body: dict[str, Any] = {name: base64.b64encode(text).decode() for name, text in texts.items()}
        self._ask("put", body | {"ignore_lease": True})

    def _entries(self, **fields: bool) -> list[dict[str, str]]:
        first, after = (base64.b64encode(text).decode() for text in (b"v1/", b"v10"))
        entries: list[dict[str, str]] = self._ask("range", {"key": first, "range_end": after, **fields}).get("kvs", [])
        return entries

    def _ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/v3/kv/{verb}", data=data, timeout=30) as answer:
            said: dict[str, Any] = json.load(answer)
            return said


class StoreWith:
    """A store whose users also get these variables."""

    def __init__(self, store: FileStore | EtcdServer | KubePod, additions: Mapping[str, str]) -> None:
        self.backend = store.backend
        self.environment = store.environment | dict(additions)
        self.keys = store.keys


Store = FileStore | EtcdServer | StoreWith | KubePod
