"""The real Dynamo frontend routes by KV over our mock workers: by their events, and after a restart by their dumps."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import ask, chat, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.nats_server import NatsServer
from tests.support.stores import EtcdServer, StoreWith

WORKERS = 3
BLOCK = 16
KV_MODE = ("--router-mode", "kv")
# more room than this takes: what is cached is decided by routing alone
SESSIONS, TURNS = 8, 4
APPLIED = re.compile(r'^dynamo_component_kv_cache_events_applied\{([^}]*)\} (\S+)$', re.MULTILINE)


@pytest.fixture(params=["zmq", "nats"])
def cluster_with_events(request: pytest.FixtureRequest, etcd_server: EtcdServer, tmp_path: Path) -> Iterator[Cluster]:
    store: EtcdServer | StoreWith = etcd_server
    server = None
    if request.param == "nats":
        server = NatsServer(tmp_path)
        server.start()
        store = StoreWith(etcd_server, {"NATS_SERVER": server.url, "DYN_EVENT_PLANE": "nats"})
    with Cluster(store, tmp_path) as cluster:
        yield cluster
    if server is not None:
        server.stop()


class Session:
    """A conversation whose prompt grows by each turn."""

    def __init__(self, number: int) -> None:
        self._source = random.Random(number)
        self._said = f"{number} "
        self.prompt_tokens = 0

    def turn(self, frontend: Frontend) -> int:
        """Says something more; the tokens of the prompt that were cached."""
        self._said += " ".join(self._source.choices("abcdefghij", k=120)) + " "
        message = [{"role": "user", "content": self._said}]
        status, answer = chat(frontend.url, "mock", messages=message, max_tokens=2)
        assert status == 200, answer
        self.prompt_tokens = answer["usage"]["prompt_tokens"]
        cached: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return cached


def applied(frontend: Frontend) -> dict[str, float]:
    """Events by their status."""
    found: dict[str, float] = {}
    for labels, value in APPLIED.findall(ask(f"{frontend.url}/metrics")[1]):
        status = re.search(r'status="(\w+)"', labels)
        assert status is not None
        found[status[1]] = found.get(status[1], 0.0) + float(value)
    return found


def test_it_sends_each_session_where_its_prefix_is(cluster_with_events: Cluster) -> None:
    options = ("--speedup-ratio", "0", "--data-parallel-size", "2", "--kv-block-size", str(BLOCK))
    for _ in range(WORKERS):
        cluster_with_events.mock_worker(*options)
    frontend = cluster_with_events.real_frontend("mock", arguments=KV_MODE)
    sessions = [Session(number) for number in range(SESSIONS)]
    before = [0] * SESSIONS
    for turn in range(TURNS):
        for number, session in enumerate(sessions):
            cached = session.turn(frontend)
            if turn:
                assert cached >= (before[number] - BLOCK) // BLOCK * BLOCK, (turn, number, cached, before[number])
            before[number] = session.prompt_tokens
    until(lambda: applied(frontend)["ok"] >= SESSIONS * TURNS, "an event of each prompt")
    statuses = applied(frontend)
    del statuses["ok"]
    assert not any(statuses.values()), statuses

    frontend.stop()
    again = cluster_with_events.real_frontend("mock", arguments=KV_MODE)
    # a dump is counted by its blocks; the first of each prompt may be the same
    blocks = sum(tokens // BLOCK - 1 for tokens in before)
    until(lambda: applied(again).get("ok", 0.0) >= blocks, "the dumps are of no use")
    for number, session in enumerate(sessions):
        assert session.turn(again) >= (before[number] - BLOCK) // BLOCK * BLOCK, "the dumps were of no use"
