"""Routing decided by KV routing and carried out by someone else: the annotation `query_instance_id:`, and requests that
name their worker, against the real frontend and ours over one worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import ask
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import scrape
from tests.support.peer import ScriptedWorker
from tests.support.side_by_side import Pair
from tests.support.stores import FileStore

KV = ("--router-mode", "kv", "--no-router-kv-events")
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKS = {"annotations": ["query_instance_id:"]}
HELLO = [{"role": "user", "content": "hello " * 20}]
ANSWER = [{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}]
COUNTED = re.compile(
    r"dynamo_frontend_(router_admission_received|requests|worker_active_\w+)(_total)?"
    r"|dynamo_component_router_(requests_total|kv_hit_rate_count)"
)
# of each answer its own
OWN = re.compile(r'(?<="id":")(?:chatcmpl|cmpl)-[0-9a-f-]{36}|(?<="created":)\d+')

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"nvext": ASKS}),
    "chat, streamed": (CHAT, {"nvext": ASKS, "stream": True}),
    "chat, streamed with usage": (
        CHAT, {"nvext": ASKS, "stream": True, "stream_options": {"include_usage": True}}
    ),
    "prefill": (CHAT, {"nvext": {"annotations": ["query_instance_id:prefill"]}}),
    "beside other annotations": (CHAT, {"nvext": {"annotations": ["token_ids", "query_instance_id:"]}, "stream": True}),
    "with other fields": (CHAT, {"nvext": ASKS | {"extra_fields": ["worker_id", "timing", "prompt_token_ids"]}}),
    "two choices with logprobs": (CHAT, {"nvext": ASKS, "n": 2, "logprobs": True}),
    "completions": (COMPLETIONS, {"nvext": ASKS}),
    "completions, streamed": (COMPLETIONS, {"nvext": ASKS, "stream": True}),
    "a batch": (COMPLETIONS, {"nvext": ASKS, "prompt": ["hello you", "b"]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("query-instance")
    with Cluster(FileStore(home / "store"), home) as cluster:
        worker = cluster.scripted_worker()
        worker.say(ANSWER)
        yield Pair(cluster.real_frontend("tiny", arguments=KV), cluster.frontend("tiny", arguments=KV), worker)


def said(frontend: Frontend, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None) -> str:
    usual = {"messages": HELLO} if path == CHAT else {"prompt": "hello you"}
    status, text = ask(f"{frontend.url}{path}", {"model": "tiny", "max_tokens": 2} | usual | fields, headers)
    assert status == 200, text
    return OWN.sub("0", text)


def seen(worker: ScriptedWorker) -> list[dict[str, Any]]:
    return [entry["request"] for entry in worker.requests()]


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_rank_is_named_and_nothing_executed(pair: Pair, name: str) -> None:
    pair.worker.forget()
    path, fields = QUESTIONS[name]
    theirs, ours = (said(frontend, path, fields) for frontend in (pair.real, pair.ours))
    assert ours == theirs and "worker_id" in ours and "token_ids" in ours
    assert seen(pair.worker) == []


def test_another_annotation_is_no_question(pair: Pair) -> None:
    pair.worker.forget()
    fields = {"nvext": {"annotations": ["query_instance_id"]}}
    theirs, ours = (said(frontend, CHAT, fields) for frontend in (pair.real, pair.ours))
    assert ours == theirs and len(seen(pair.worker)) == 2


def test_what_was_named_is_followed(pair: Pair) -> None:
    sent = []
    for frontend in (pair.real, pair.ours):
        place = json.loads(said(frontend, CHAT, {"nvext": ASKS}))["nvext"]
        pair.worker.forget()
        headers = {
            "x-dynamo-worker-instance-id": str(place["worker_id"]["decode_worker_id"]),
            "x-dynamo-dp-rank": str(place["worker_id"]["decode_dp_rank"]),
        }
        said(frontend, CHAT, {"nvext": {"token_data": place["token_ids"]}}, headers)
        sent += seen(pair.worker)
    assert len(sent) == 2 and sent[0] == sent[1]
    assert sent[1]["token_ids"] == place["token_ids"]


def test_questions_are_counted_but_not_booked(pair: Pair) -> None:
    pages = []
    for frontend in (pair.real, pair.ours):
        page: dict[tuple[str, ...], float] = {}
        for (name, *labels), value in scrape(frontend.port).items():
            if COUNTED.fullmatch(name):
                own = ("router_id=", "worker_id=") if name.startswith("dynamo_component_") else ()
                page[name, *(label for label in labels if not label.startswith(own or "\0"))] = value
        pages.append(page)
    assert pages[1] == pages[0]
    assert not any(value for (name, *_), value in pages[1].items() if "worker_active" in name)
