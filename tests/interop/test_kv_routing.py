"""`--router-mode kv` over real workers, told from decisions alone: ranks, pins, thresholds, the line, explanations."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.cli import explain
from tests.support.asking import HELLO, ask, until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend, our_command
from tests.support.load import client
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore

KV = ("--router-mode", "kv", "--no-router-kv-events")
PROMPT = [{"role": "user", "content": " ".join(f"word{at}" for at in range(200))}]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two real mockers of two ranks each."""
    home = tmp_path_factory.mktemp("ranked")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mocker(workers=2, arguments=("--data-parallel-size", "2", "--block-size", "16"))
        yield cluster


@pytest.fixture(scope="module")
def frontend(ranked: Cluster) -> Frontend:
    return ranked.frontend("mock", arguments=KV)


def chat(frontend: Frontend, headers: dict[str, str] | None = None, **fields: Any) -> tuple[int, Any]:
    body = {"model": "mock", "messages": HELLO, "max_tokens": 2, "nvext": {"extra_fields": ["worker_id"]}, **fields}
    status, text = ask(f"{frontend.url}/v1/chat/completions", body, headers)
    return status, json.loads(text)


def rank_of(answer: dict[str, Any]) -> tuple[int, int]:
    found = answer["nvext"]["worker_id"]
    assert found["prefill_worker_id"] == found["decode_worker_id"]
    assert found["prefill_dp_rank"] == found["decode_dp_rank"]
    return found["decode_worker_id"], found["decode_dp_rank"]


def metric(frontend: Frontend, name: str) -> list[float]:
    with urllib.request.urlopen(f"{frontend.url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return [float(number) for number in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)]


def explained(frontend: Frontend, **fields: Any) -> dict[str, Any]:
    status, answer = chat(frontend, {"x-dynamo-fe-explain": "only"}, **fields)
    assert status == 200, answer
    (explanation,) = answer["explanations"]
    return explanation


def test_a_prompt_goes_back_to_the_rank_that_had_it(frontend: Frontend) -> None:
    _, first = chat(frontend, messages=PROMPT)
    for _ in range(5):
        _, again = chat(frontend, messages=PROMPT)
        assert rank_of(again) == rank_of(first)
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_fresh_prompts_spread_over_all_ranks(frontend: Frontend) -> None:
    seen = {rank_of(chat(frontend, messages=[{"role": "user", "content": f"{at}"}])[1]) for at in range(60)}
    assert len(seen) == 4


def test_a_pin_names_worker_and_rank(frontend: Frontend) -> None:
    worker, _ = rank_of(chat(frontend)[1])
    for dp_rank in (0, 1):
        headers = {"x-worker-instance-id": str(worker), "x-dp-rank": str(dp_rank)}
        for _ in range(3):
            assert rank_of(chat(frontend, headers)[1]) == (worker, dp_rank)


def test_of_two_workers_that_a_request_names_the_one_for_decode_counts(frontend: Frontend) -> None:
    worker, _ = rank_of(chat(frontend)[1])
    both = {"decode_worker_id": worker, "backend_instance_id": 5, "dp_rank": 0, "extra_fields": ["worker_id"]}
    assert rank_of(chat(frontend, nvext=both)[1]) == (worker, 0)
    status, answer = chat(frontend, nvext=both | {"decode_worker_id": 5, "backend_instance_id": worker})
    assert status == 400
    assert "instance id 5" in answer["error"]["message"]


def test_a_pin_without_its_rank_is_refused(frontend: Frontend) -> None:
    worker, _ = rank_of(chat(frontend)[1])
    status, answer = chat(frontend, {"x-worker-instance-id": str(worker)})
    assert (status, answer["error"]["param"]) == (400, "nvext.dp_rank")
    assert answer["message"].endswith("has 2 ranks: a request that names it requires an explicit dp_rank")


def test_an_unknown_worker_is_refused_and_a_rank_alone_says_nothing(frontend: Frontend) -> None:
    status, answer = chat(frontend, {"x-worker-instance-id": "12345", "x-dp-rank": "0"})
    assert (status, answer["message"]) == (400, "Invalid request")
    assert answer["error"]["message"] == "Invalid request: no worker of the model has the instance id 12345"
    seen = {rank_of(chat(frontend, {"x-dp-rank": "1"}, messages=[{"role": "user", "content": f"r{at}"}])[1])[1]
            for at in range(40)}  # fmt: skip
    assert seen == {0, 1}


def test_explain_tells_why_a_request_is_refused(
    frontend: Frontend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"model": "mock", "prompt": "a", "nvext": {"backend_instance_id": 5}}')
    assert explain.run(["--url", frontend.url, "--request", str(request)]) == 1
    assert capsys.readouterr().err.endswith(": 400 Invalid request: no worker of the model has the instance id 5\n")


def test_taints_that_no_worker_has_leave_nobody(frontend: Frontend) -> None:
    status, answer = chat(frontend, nvext={"routing_constraints": {"required_taints": ["gold"]}})
    assert status == 503
    assert "no worker has the required taints gold" in answer["message"]
    worker, rank = rank_of(chat(frontend)[1])
    pinned = {"x-worker-instance-id": str(worker), "x-dp-rank": str(rank)}
    status, answer = chat(frontend, pinned, nvext={"routing_constraints": {"required_taints": ["gold"]}})
    assert status == 503
    assert "no worker that the request may go to has the required taints gold" in answer["message"]


def test_load_and_line_read_zero_after_a_storm(frontend: Frontend) -> None:
    async def storm() -> None:
        async with client(frontend.url) as source:

            async def one(at: int) -> None:
                stream = await source.chat.completions.create(
                    model="mock", messages=[{"role": "user", "content": f"{at % 7} again"}], max_tokens=20, stream=True
                )  # fmt: skip
                async for _ in stream:
                    if at % 3 == 0:
                        await stream.close()
                        return

            await asyncio.gather(*(one(at) for at in range(120)))

    asyncio.run(storm())
    for name in ("active_decode_blocks", "active_prefill_tokens"):
        until(lambda: set(metric(frontend, f"dynamo_frontend_worker_{name}")) == {0.0}, f"no {name}")  # noqa: B023
    requests = metric(frontend, "dynamo_component_router_requests_started_total")
    until(lambda: metric(frontend, "dynamo_component_router_requests_total") == requests, "every request ended")
    assert max(each["active_requests"] for each in explained(frontend)["candidates"]) == 0


def test_an_explanation_in_place_of_the_answer_books_nothing(frontend: Frontend) -> None:
    before = metric(frontend, "dynamo_component_router_requests_started_total")
    fresh = [{"role": "user", "content": "never seen before " * 20}]
    explanation = explained(frontend, messages=fresh)
    assert len(explanation["candidates"]) == 4
    assert explanation["reason"].startswith("least cost, drawn from 4 ranks")
    again = explained(frontend, messages=fresh)
    assert {each["cost"] for each in again["candidates"]} == {each["cost"] for each in explanation["candidates"]}
    assert metric(frontend, "dynamo_component_router_requests_started_total") == before


@pytest.mark.parametrize("stream", [False, True])
def test_an_explanation_beside_the_answer(frontend: Frontend, stream: bool) -> None:
    chat(frontend, messages=PROMPT)
    body = {"model": "mock", "messages": PROMPT, "max_tokens": 2, "stream": stream}
    request = urllib.request.Request(
        f"{frontend.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-dynamo-fe-explain": "true"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        explanation = json.loads(answer.headers["x-dynamo-fe-explanation"])
        answer.read()
    first, *others = explanation["candidates"]
    assert (first["worker_id"], first["dp_rank"]) == (explanation["worker_id"], explanation["dp_rank"])
    assert first["overlap"]["device"] > 0
    assert explanation["reason"] == "least cost"
    assert all(each["cost"] > first["cost"] for each in others)
    plain = urllib.request.Request(request.full_url, request.data, {"content-type": "application/json"})
    with urllib.request.urlopen(plain, timeout=30) as answer:
        assert "x-dynamo-fe-explanation" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
def test_of_several_prompts_each_is_explained(frontend: Frontend, stream: bool) -> None:
    prompts = [" ".join(f"{at}-{word}" for word in range(30 * at)) or "short" for at in range(4)]
    url, body = f"{frontend.url}/v1/completions", {"model": "mock", "prompt": prompts, "max_tokens": 1}
    status, text = ask(url, body, {"x-dynamo-fe-explain": "only"})
    assert status == 200, text
    alone = json.loads(text)["explanations"]
    beside = [json.loads(told) for told in told_beside(url, body | {"stream": stream})]
    for told in (alone, beside):
        assert [(each["prompt"], each["prompts"]) for each in told] == [(at, 4) for at in range(4)]
    assert [each["prompt_tokens"] for each in beside] == [each["prompt_tokens"] for each in alone]
    assert len({each["prompt_tokens"] for each in beside}) == 4
    assert all(each["candidates"][0]["worker_id"] == each["worker_id"] for each in beside)


def test_of_very_many_prompts_the_first_are_explained(frontend: Frontend) -> None:
    body = {"model": "mock", "prompt": [f"prompt {at}" for at in range(60)], "max_tokens": 1}
    told = told_beside(f"{frontend.url}/v1/completions", body)
    assert [(each["prompt"], each["prompts"]) for each in map(json.loads, told)] == [(at, 60) for at in range(32)]
    assert sum(map(len, told)) <= 8192


def told_beside(url: str, body: dict[str, Any]) -> list[str]:
    """The explanations on the head of the answer."""
    headers = {"content-type": "application/json", "x-dynamo-fe-explain": "true"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        answer.read()
        found: list[str] = answer.headers.get_all("x-dynamo-fe-explanation")
        return found


def test_the_command_explains_a_prompt_and_a_recorded_request(frontend: Frontend, tmp_path: Path) -> None:
    chat(frontend, messages=PROMPT)
    recorded = tmp_path / "request.json"
    recorded.write_text(json.dumps({"model": "mock", "messages": PROMPT}))

    def run(*words: str | Path, piped: str = "") -> subprocess.CompletedProcess[str]:
        argv = [*our_command(), "explain", "--url", frontend.url, *words]
        return subprocess.run(argv, input=piped, capture_output=True, text=True, timeout=60, check=False)

    shown = run("--request", recorded)
    assert shown.returncode == 0, shown.stderr
    assert re.match(r"worker \d+ rank \d: least cost\n", shown.stdout)
    assert run("--request", "-", piped=recorded.read_text()).stdout == shown.stdout
    several = run("--request", "-", piped='{"prompt": ["hello you", "b"]}')
    assert re.findall(r"^(\S+): worker \d+ rank \d: ", several.stdout, re.MULTILINE) == ["prompt[0]", "prompt[1]"]
    broken = run("--request", "-", piped="{")
    assert (broken.returncode, "explain: standard input: not JSON: " in broken.stderr) == (2, True)
    document = json.loads(run("--prompt", "hello", "--json").stdout)
    assert len(document["explanations"][0]["candidates"]) == 4
    bare = run("--url", frontend.url.removeprefix("http://"), "--prompt", "hello")
    assert bare.returncode == 0, bare.stderr
    unknown = run("--prompt", "hello", "--model", "nobody")
    assert (unknown.returncode, "404 Model not found" in unknown.stderr) == (1, True)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_wish_for_an_explanation_is_refused(frontend: Frontend, stream: bool) -> None:
    status, answer = chat(frontend, {"x-dynamo-fe-explain": "banana"}, stream=stream)
    assert (status, answer["message"]) == (400, "x-dynamo-fe-explain must be true, only or false, got 'banana'")


def test_a_threshold_that_is_set_holds_in_every_process(ranked: Cluster) -> None:
    frontend = ranked.frontend("mock", arguments=(*KV, "--workers", "2"))
    for step in range(1, 6):
        change = {"model": "mock", "active_decode_blocks_threshold": step / 10}
        assert ask(f"{frontend.url}/busy_threshold", change)[0] == 200
        for _ in range(8):
            # each on a connection of its own, so that either process is asked
            _, held = ask(f"{frontend.url}/busy_threshold", {"model": "mock"})
            assert json.loads(held)["active_decode_blocks_threshold"] == step / 10


def test_a_worker_is_left_out_when_all_its_ranks_are_busy(ranked: Cluster) -> None:
    frontend = ranked.frontend("mock", arguments=(*KV, "--workers", "1"))
    busy, _ = rank_of(chat(frontend)[1])
    change = {"model": "mock", "active_decode_blocks_threshold": 0.0}
    assert ask(f"{frontend.url}/busy_threshold", change)[0] == 200
    held = []
    for dp_rank in ("0", "1"):
        assert busy in {each["worker_id"] for each in explained(frontend)["candidates"]}
        pins = {"x-worker-instance-id": str(busy), "x-dp-rank": dp_rank}
        request = _stream(frontend, messages=[{"role": "user", "content": f"{dp_rank} " * 100}])
        for name, value in pins.items():
            request.add_header(name, value)
        held.append(urllib.request.urlopen(request, timeout=30))
    assert busy not in {each["worker_id"] for each in explained(frontend)["candidates"]}
    assert {rank_of(chat(frontend)[1])[0] for _ in range(6)}.isdisjoint({busy})
    for answer in held:
        answer.close()
    until(lambda: busy in {each["worker_id"] for each in explained(frontend)["candidates"]}, "the worker is back")


def _stream(frontend: Frontend, **fields: Any) -> urllib.request.Request:
    body = {"model": "mock", "messages": PROMPT, "max_tokens": 3000, "stream": True, "ignore_eos": True, **fields}
    headers = {"content-type": "application/json"}
    return urllib.request.Request(f"{frontend.url}/v1/chat/completions", json.dumps(body).encode(), headers)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    """What the one worker of `worker` is in."""
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


@pytest.fixture
def worker(alone: Cluster) -> ScriptedWorker:
    """One that is at its first prompt until it is let go."""
    worker = alone.scripted_worker("mock", runtime_config={"max_num_batched_tokens": 1000})
    done = [{"token_ids": [272]}, {"token_ids": [273], "finish_reason": "length"}]
    worker.say({"scripts": [[worker.held, *done], done]})
    return worker


def test_overload_is_refused_with_a_time_to_come_back_and_passes(alone: Cluster, worker: ScriptedWorker) -> None:
    frontend = alone.frontend("mock", arguments=(*KV, "--active-prefill-tokens-threshold", "0"))
    with urllib.request.urlopen(_stream(frontend, stream=True, max_tokens=5), timeout=30) as held:
        until(lambda: max(metric(frontend, "dynamo_frontend_worker_active_prefill_tokens"), default=0) > 0, "prefill")
        request = _stream(frontend, stream=False, max_tokens=2)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        answer = json.loads(refused.value.read())
        assert refused.value.code == 529
        assert refused.value.headers["retry-after"] == "1"
        assert {key: answer[key] for key in ("message", "type", "code")} == {
            "message": "Service temporarily overloaded", "type": "Overloaded", "code": 529,
        }  # fmt: skip
        worker.let_go()
        held.read()
    assert chat(frontend)[0] == 200


def test_requests_wait_for_their_turn_and_the_line_has_an_end(
    alone: Cluster, worker: ScriptedWorker, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "default_policy_family: all\n"
        "policy_classes: [{name: only, policy_family: all, cache_bucket: any, quantum: 100,"
        " prefill_busy_threshold: 0, request_queue_limit_per_worker: 2}]\n"
        "uncached_isl_buckets: [{min_tokens: 0, bucket: any}]\n"
    )
    frontend = alone.frontend("mock", arguments=(*KV, "--router-policy-config", str(policy)))

    async def crowd() -> list[int]:
        async def one(at: int) -> int:
            status, _ = await asyncio.to_thread(
                chat, frontend, messages=[{"role": "user", "content": f"{at} " + str(PROMPT[0]["content"])[:400]}]
            )
            return status

        running = [asyncio.create_task(one(at)) for at in range(5)]
        ends = asyncio.as_completed(running)
        for _ in range(2):
            assert await next(ends) == 529
        worker.let_go()
        return sorted(await asyncio.gather(*running))

    assert asyncio.run(crowd()) == [200, 200, 200, 529, 529]
    assert metric(frontend, "dynamo_frontend_router_queue_backpressure_total") == [2.0, 0.0, 0.0]
    until(lambda: metric(frontend, "dynamo_frontend_router_queue_pending_requests") == [0.0], "an empty line")


def test_a_client_that_leaves_the_line_is_forgotten(alone: Cluster, worker: ScriptedWorker) -> None:
    frontend = alone.frontend("mock", arguments=(*KV, "--router-queue-threshold", "0"))

    async def leave() -> None:
        async with client(frontend.url) as source:
            create = source.chat.completions.create
            first = await create(model="mock", messages=PROMPT, max_tokens=2, stream=True)  # type: ignore[arg-type]
            waiting = asyncio.create_task(create(model="mock", messages=HELLO, max_tokens=2))  # type: ignore[arg-type]
            pending = "dynamo_frontend_router_queue_pending_requests"
            await asyncio.to_thread(until, lambda: metric(frontend, pending) == [1.0], "one in the line")
            waiting.cancel()
            await asyncio.to_thread(until, lambda: metric(frontend, pending) == [0.0], "nobody in the line")
            worker.let_go()
            async for _ in first:
                pass

    asyncio.run(leave())
    until(lambda: set(metric(frontend, "dynamo_frontend_worker_active_prefill_tokens")) == {0.0}, "no load")
    assert chat(frontend)[0] == 200


def test_a_killed_process_leaves_no_load_behind(ranked: Cluster) -> None:
    frontend = ranked.frontend("mock", arguments=(*KV, "--workers", "2"))
    pid = frontend.process.pid

    def children() -> list[int]:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    assert len(children()) == 2
    requests = [_stream(frontend, messages=[{"role": "user", "content": f"{at} " * 50}]) for at in range(8)]
    answers = [urllib.request.urlopen(request, timeout=30) for request in requests]
    total = sum(each["active_requests"] for each in explained(frontend)["candidates"])
    assert total > 0
    for child in children():
        os.kill(child, signal.SIGKILL)
    for answer in answers:
        answer.close()
    until(lambda: len(children()) == 2 and explained_or_none(frontend) == 0, "the load of the dead is gone")


def explained_or_none(frontend: Frontend) -> int | None:
    try:
        return int(sum(each["active_requests"] for each in explained(frontend)["candidates"]))
    except (OSError, AssertionError):
        return None


def test_streams_of_a_killed_worker_go_on_elsewhere_and_leave_no_load(tmp_path: Path) -> None:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        first, _ = (cluster.mock_worker("--decode-tokens-per-sec", "60") for _ in range(2))
        frontend = cluster.frontend("mock", arguments=KV)
        until(lambda: len(explained(frontend)["candidates"]) == 2, "both workers")

        async def crowd() -> list[int]:
            under_way = asyncio.Barrier(7)
            async with client(frontend.url) as source:

                async def one(at: int) -> int:
                    stream = await source.chat.completions.create(
                        model="mock", messages=[{"role": "user", "content": f"{at} " * 80}], max_tokens=60, stream=True,
                        stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
                    )  # fmt: skip
                    await anext(aiter(stream))
                    await under_way.wait()
                    usages = [chunk.usage async for chunk in stream]
                    assert usages[-1] is not None
                    return usages[-1].completion_tokens

                running = [asyncio.create_task(one(at)) for at in range(6)]
                await under_way.wait()
                first.kill()
                return await asyncio.gather(*running)

        assert asyncio.run(crowd()) == [60] * 6
        for name in ("active_decode_blocks", "active_prefill_tokens"):
            until(lambda: set(metric(frontend, f"dynamo_frontend_worker_{name}")) == {0.0}, f"no {name}")  # noqa: B023
        assert metric(frontend, "dynamo_component_router_requests_started_total")[0] > 6
