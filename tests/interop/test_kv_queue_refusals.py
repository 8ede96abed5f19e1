"""What a client is told whose policy class has all the waiting requests that it may have, as the original tells it."""

from __future__ import annotations

import concurrent.futures
import json
from typing import Any

from tests.support.asking import ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.peer import ScriptedWorker

# named as the limits, of which each has one
CLASSES = ("request", "raw_isl_token", "cached_token")
POLICY = (
    "default_policy_family: request\n"
    "policy_classes:\n"
    + "".join(
        f"- {{name: of-{kind}, policy_family: {kind}, cache_bucket: any, quantum: 100, prefill_busy_threshold: 0,"
        f" {kind}_queue_limit_per_worker: 1}}\n"
        for kind in CLASSES
    )
    + "uncached_isl_buckets: [{min_tokens: 0, bucket: any}]\n"
)
DONE = [{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}]
PROMPT = [{"role": "user", "content": " ".join(f"word{at}" for at in range(60))}]


def refusals(frontend: Frontend, worker: ScriptedWorker) -> dict[str, list[Any]]:
    """The bodies, by class, of those of its three requests that do not wait for the one that runs."""
    worker.forget()
    worker.say({"scripts": [[worker.held, *DONE], DONE]})

    def chat(kind: str, stream: bool) -> tuple[int, str]:
        body = {"model": "tiny", "messages": PROMPT, "max_tokens": 2, "stream": stream}
        return ask(f"{frontend.url}/v1/chat/completions", body, {"x-dynamo-meta-policy-class": kind})

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        running = pool.submit(chat, "request", False)
        worker.wait_for(1)
        asked = {kind: [pool.submit(chat, kind, stream) for stream in (False, True, True)] for kind in CLASSES}
        every = [each for of_kind in asked.values() for each in of_kind]
        until(lambda: sum(each.done() for each in every) == 2 * len(CLASSES), "those that may not wait")
        worker.let_go()
        answers = {kind: sorted(each.result() for each in of_kind) for kind, of_kind in asked.items()}
        assert running.result()[0] == 200
    assert {kind: [status for status, _ in of_kind] for kind, of_kind in answers.items()} == {
        kind: [200, 529, 529] for kind in CLASSES
    }
    return {kind: [json.loads(body) for _, body in of_kind[1:]] for kind, of_kind in answers.items()}


def test_every_limit_is_named_with_its_numbers(cluster: Cluster) -> None:
    worker = cluster.scripted_worker(runtime_config={"max_num_batched_tokens": 1000})
    policy = cluster.home / "policy.yaml"
    policy.write_text(POLICY)
    arguments = ("--router-mode", "kv", "--no-router-kv-events", "--router-policy-config", str(policy))
    real = refusals(cluster.real_frontend("tiny", arguments=arguments), worker)
    assert {kind: body["details"]["limit_kind"] for kind, (body, _) in real.items()} == {
        kind: f"{kind}s" for kind in CLASSES
    }
    ours = refusals(cluster.frontend("tiny", arguments=arguments), worker)
    assert {body.pop("error")["type"] for bodies in ours.values() for body in bodies} == {"overloaded_error"}
    assert ours == real
