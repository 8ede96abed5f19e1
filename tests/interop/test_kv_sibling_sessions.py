"""Over real workers: a session keeps its rank in every process of a frontend, through kills and reloads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.kv_shadow import MOCKER, prompt, ranks_of
from tests.support.processes import children
from tests.support.stores import FileStore

ARGUMENTS = ("--router-mode", "kv", "--workers", "2", "--router-session-affinity-ttl-secs", "600")
SESSIONS = [f"session {number}" for number in range(12)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("sessions")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mocker(workers=2, speedup_ratio=0, arguments=MOCKER)
        yield cluster


class Asker:
    """Asks what no cache knows, one request after the other, each on a connection of its own."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._asked = 0

    def rank(self, session: str) -> Any:
        self._asked += 1
        body = {"model": "mock", "messages": prompt(self._asked), "max_tokens": 1}
        body["nvext"] = {"extra_fields": ["worker_id"]}
        url, headers = f"{self._frontend.url}/v1/chat/completions", {"x-dynamo-session-id": session}
        status, text = ask(url, body, headers)
        assert status == 200, text
        return text.partition('"worker_id":')[2].partition("}")[0]


def came_instead(frontend: Frontend, before: list[int]) -> int:
    """How many of those have gone and left their place to another."""
    now = children(frontend.process.pid)
    return len(set(now) - set(before)) if len(now) == len(before) else 0


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_session_keeps_its_rank_through_kills_and_a_reload(cluster: Cluster, mode: str) -> None:
    arguments = (*ARGUMENTS, "--router-session-affinity-mode", mode)
    frontend = cluster.frontend("mock", arguments=arguments)
    ranks_of(frontend, 4)
    asker = Asker(frontend)
    bound = {session: asker.rank(session) for session in SESSIONS}
    assert len(set(bound.values())) > 1
    for _ in range(3):
        assert {session: asker.rank(session) for session in SESSIONS} == bound

    before = children(frontend.process.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: came_instead(frontend, before) == len(before), "all processes replaced")
    frontend.wait_listed("mock")
    for _ in range(2):
        assert {session: asker.rank(session) for session in SESSIONS} == bound

    before = children(frontend.process.pid)
    frontend.process.send_signal(signal.SIGHUP)
    # the indexer stays
    until(lambda: came_instead(frontend, before) == 2, "the next generation")
    for _ in range(2):
        assert {session: asker.rank(session) for session in SESSIONS} == bound
