"""The real frontend and ours over one real worker: thousands of requests, every answer and everything the worker saw
compared. `tests.support.differences` holds what may differ.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.captures import Answer, Normaliser
from tests.support.differences import DEPARTS, Exchange, departs, equal
from tests.support.frontends import Frontend
from tests.support.generated_requests import Case, cases
from tests.support.peer import ScriptedWorker
from tests.support.side_by_side import Pair, side_by_side

SEED = int(os.environ.get("DYN_FE_DIFFERENTIAL_SEED", "7"))
DRAWN = int(os.environ.get("DYN_FE_DIFFERENTIAL_DRAWN", "150"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with side_by_side(tmp_path_factory.mktemp("differential")) as found:
        yield found


def ask(port: int, case: Case) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"content-type": "application/json"} | case.headers
        connection.request("POST", case.path, body=case.encoded(), headers=headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def exchange(frontend: Frontend, worker: ScriptedWorker, case: Case) -> Exchange:
    """A worker writes a request down before it says anything, so whoever has an answer finds what was asked for it."""
    worker.forget()
    worker.say(case.script)
    answer = ask(frontend.port, case)
    normalise = Normaliser()
    content = answer.content() if answer.body else ""
    if isinstance(content, dict):
        content.pop("error", None)
    saw = [{key: entry[key] for key in ("id", "metadata", "request")} for entry in worker.requests()]
    told = normalise(content)
    return Exchange(answer.status, answer.content_type, told, normalise(sorted(saw, key=lambda entry: entry["id"])))


def shown(found: Exchange) -> str:
    return json.dumps([found.status, found.content, found.saw], default=str)[:600]


def test_every_request_gets_the_same_answer_and_reaches_the_worker_alike(pair: Pair) -> None:
    asked, unequal = 0, []
    for case in cases(SEED, DRAWN):
        if departs(case):
            continue
        theirs = exchange(pair.real, pair.worker, case)
        ours = exchange(pair.ours, pair.worker, case)
        asked += 1
        if not equal(case, theirs, ours):
            unequal.append(f"{case.name}\n  real: {shown(theirs)}\n  ours: {shown(ours)}")
    assert asked >= 300
    assert not unequal, f"{len(unequal)} of {asked} differ:\n" + "\n".join(unequal[:20])


def test_every_departure_is_a_case() -> None:
    found = cases(SEED, DRAWN)
    assert sum(map(departs, found)) >= len(DEPARTS)


def test_the_cases_are_the_same_every_time() -> None:
    first: list[Any] = [(case.name, case.encoded(), json.dumps(case.script)) for case in cases(SEED, 20)]
    assert first == [(case.name, case.encoded(), json.dumps(case.script)) for case in cases(SEED, 20)]
