"""The real frontend and ours over the same real workers: what reaches a worker of requests with tools, forced choices,
formats, thinking switches and histories of calls.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.generated_tool_requests import tool_request
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore

SEED, DRAWN = 11, 120
CARDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hermes": {
        "tool_call_parser": "hermes",
        "reasoning_parser": "qwen3",
        "structural_tag": {"scope": "always", "schema": "auto"},
    },
    "deepseek": {
        "tool_call_parser": "deepseek_v3_2",
        "reasoning_parser": "deepseek_v3_2",
        "structural_tag": {"scope": "auto", "schema": "strict"},
        "exclude_tools_when_tool_choice_none": False,
    },
    "kimi": {"tool_call_parser": "kimi_k2", "reasoning_parser": "kimi_k25"},
    "k3": {
        "tool_call_parser": "kimi_k3",
        "reasoning_parser": "kimi_k3",
        "structural_tag": {"scope": "always", "schema": "auto"},
    },
}


@dataclass(frozen=True)
class Stage:
    """Both frontends, and a worker for each card."""

    real: Frontend
    ours: Frontend
    workers: dict[str, ScriptedWorker]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("differential-tools")
    with Cluster(FileStore(home / "store"), home) as cluster:
        workers = {
            name: cluster.scripted_worker(name=name, endpoint=f"dyn://tools.{name}.generate", runtime_config=card)
            for name, card in CARDS.items()
        }
        yield Stage(cluster.real_frontend(*CARDS), cluster.frontend(*CARDS), workers)


def seen(frontend: Frontend, worker: ScriptedWorker, body: dict[str, Any]) -> tuple[int, Any]:
    """The status of the answer, and what the worker got."""
    worker.forget()
    worker.say([{"token_ids": [275], "finish_reason": "stop"}])
    connection = http.client.HTTPConnection("127.0.0.1", frontend.port, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    requests = [entry["request"] for entry in worker.requests()]
    for request in requests:
        # special tokens stay visible to every parser of ours, not to some only
        request["output_options"].pop("skip_special_tokens")
    return response.status, requests


def shown(value: Any) -> str:
    return json.dumps(value)[:600]


def difference(theirs: tuple[int, Any], ours: tuple[int, Any]) -> str:
    """Where the two differ, as far as a failing test should say."""
    if theirs[0] != ours[0] or len(theirs[1]) != 1 or len(ours[1]) != 1:
        return f"status {theirs[0]} and {ours[0]}"
    pairs = ((key, theirs[1][0].get(key), ours[1][0].get(key)) for key in theirs[1][0].keys() | ours[1][0].keys())
    return "\n".join(f"  {key}\n    real: {shown(a)}\n    ours: {shown(b)}" for key, a, b in pairs if a != b)


@pytest.mark.parametrize("name", CARDS)
def test_workers_get_the_same(stage: Stage, name: str) -> None:
    statuses, unequal = set(), []
    for number in range(DRAWN):
        body = {"model": name, **tool_request(number, SEED)}
        theirs = seen(stage.real, stage.workers[name], body)
        ours = seen(stage.ours, stage.workers[name], body)
        statuses.add(theirs[0])
        if theirs != ours:
            unequal.append(f"{json.dumps(body)}\n{difference(theirs, ours)}")
    assert statuses == {200, 400}
    assert not unequal, f"{len(unequal)} of {DRAWN} differ:\n" + "\n".join(unequal[:5])


def test_the_requests_are_the_same_every_time() -> None:
    assert tool_request(3, SEED) == tool_request(3, SEED) != tool_request(4, SEED)
