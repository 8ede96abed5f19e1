"""The line for a rank is one for all serving processes: a class's limit, and who goes first."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.metrics_page import scrape
from tests.support.peer import ScriptedWorker

POLICY = """
default_policy_family: limited
policy_classes:
- {name: limited, policy_family: limited, cache_bucket: any, quantum: 1, prefill_busy_threshold: 0,
   request_queue_limit_per_worker: 1}
- {name: free, policy_family: free, cache_bucket: any, quantum: 1, prefill_busy_threshold: 0}
uncached_isl_buckets: [{min_tokens: 0, bucket: any}]
"""
DONE = [{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}]
HELD = [{"!wait_cancel": 60}, *DONE]
# more than what lets one of another process go first
APART_SECS = 0.7


@pytest.fixture
def worker(cluster: Cluster) -> ScriptedWorker:
    return cluster.scripted_worker(runtime_config={"max_num_batched_tokens": 1000})


@pytest.fixture
def frontend(cluster: Cluster, worker: ScriptedWorker, tmp_path: Path) -> Frontend:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    arguments = ("--router-mode", "kv", "--no-router-kv-events", "--router-policy-config", str(policy))
    return cluster.frontend("tiny", arguments=(*arguments, "--workers", "2"))


def body(words: int) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "word " * words}], "max_tokens": 2}


def chat(frontend: Frontend, family: str, words: int = 60) -> int:
    """On a connection of its own, of which the kernel chooses the process."""
    headers = {"x-dynamo-meta-policy-class": family}
    return ask(f"{frontend.url}/v1/chat/completions", body(words), headers)[0]


@contextlib.contextmanager
def held_request(frontend: Frontend) -> Iterator[socket.socket]:
    """A request that its worker answers only when its client leaves, that is when the socket is closed."""
    content = json.dumps(body(60)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
    with socket.create_connection(("127.0.0.1", frontend.port)) as connection:
        connection.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + content)
        yield connection


def waiting(frontend: Frontend) -> float:
    """Requests in the line, of all processes."""
    page = scrape(frontend.port)
    return sum(value for (name, *_), value in page.items() if name == "dynamo_frontend_router_queue_pending_requests")


def test_a_limit_holds_for_all_processes_together(frontend: Frontend, worker: ScriptedWorker) -> None:
    worker.say({"scripts": [HELD, DONE]})
    with concurrent.futures.ThreadPoolExecutor(1) as pool, held_request(frontend) as running:
        worker.wait_for(1)
        second = pool.submit(chat, frontend, "limited")
        until(lambda: waiting(frontend) == 1, "the one that may wait")
        assert [chat(frontend, "limited") for _ in range(12)] == [529] * 12
        running.close()
        assert second.result() == 200
    assert chat(frontend, "limited") == 200


def test_who_came_long_before_goes_first_whichever_process_has_it(frontend: Frontend, worker: ScriptedWorker) -> None:
    worker.say({"scripts": [HELD, [{"!sleep": 0.2}, *DONE]]})
    with concurrent.futures.ThreadPoolExecutor(8) as pool, held_request(frontend) as running:
        worker.wait_for(1)
        answers = []
        for number in range(8):
            answers.append(pool.submit(chat, frontend, "free", 60 + number))
            until(lambda: waiting(frontend) == len(answers), "one more in the line")
            time.sleep(APART_SECS)
        running.close()
        assert [answer.result() for answer in answers] == [200] * 8
    lengths = [len(entry["request"]["token_ids"]) for entry in worker.requests()[1:]]
    assert lengths == sorted(lengths) and len(set(lengths)) == 8
