"""What an operator is told while the NATS server that brings KV events is away; requests go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.asking import ask, chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_shadow import gauge
from tests.support.nats_server import NatsServer
from tests.support.stores import FileStore, StoreWith

LOGIN = ("--user", "u", "--pass", "secret")
SINCE = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def reasons(frontend: Frontend) -> list[str]:
    """Of a frontend that is ready."""
    status, text = ask(f"{frontend.url}/ready")
    assert status == 200 and "secret" not in text, text
    found: list[str] = json.loads(text)["reasons"]
    return found


def noticed(frontend: Frontend) -> list[str]:
    """Its reasons as soon as there are any."""
    found: list[str] = []

    def some() -> bool:
        found.extend(reasons(frontend))
        return bool(found)

    until(some, "the loss is noticed")
    return found


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_lost_server_is_told_as_long_as_it_is_away(tmp_path: Path, processes: str) -> None:
    server = NatsServer(tmp_path, LOGIN)
    server.start()
    url = f"nats://u:secret@127.0.0.1:{server.port}"
    store = StoreWith(FileStore(tmp_path / "store"), {"NATS_SERVER": url, "DYN_EVENT_PLANE": "nats"})
    try:
        with Cluster(store, tmp_path) as cluster:
            cluster.mock_worker("--speedup-ratio", "0")
            frontend = cluster.frontend("mock", arguments=("--router-mode", "kv", "--workers", processes))
            until(lambda: reasons(frontend) == [], "it hears its worker")
            for _ in range(2):
                server.kill()
                said = noticed(frontend)
                place = rf"nats://127\.0\.0\.1:{server.port}"
                assert re.match(rf"KV events: connection to {place} lost since {SINCE}: .+; requests ", said[0]), said
                until(lambda: gauge(frontend, "dynamo_fe_plane", "event_connections") == 0, "no connection is counted")
                assert chat(frontend.url, "mock", max_tokens=1)[0] == 200
                server.start()
                until(lambda: reasons(frontend) == [], "the connection stands again")
            assert "secret" not in frontend.process.output()
    finally:
        server.stop()


def test_a_server_that_was_never_there_is_told(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    store = StoreWith(FileStore(tmp_path / "store"), {"NATS_SERVER": server.url, "DYN_EVENT_PLANE": "nats"})
    with Cluster(store, tmp_path) as cluster:
        cluster.mock_worker("--speedup-ratio", "0", "--no-kv-events")
        frontend = cluster.frontend("mock", arguments=("--router-mode", "kv"))
        (reason,) = reasons(frontend)
        assert re.match(rf"KV events: no connection to {server.url} since {SINCE}: ", reason), reason
