"""The real frontend and ours over one real worker: what each request adds to their metrics, compared."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.frontends import Frontend
from tests.support.metrics_page import Page, growth, scrape
from tests.support.peer import ScriptedWorker
from tests.support.side_by_side import Pair, side_by_side

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
PATIENCE_SECS = 20.0

# Of what both show. How long something took is no more equal than two clocks are, but that it was counted is.
TIMES = re.compile(r".*_bucket|.*_(seconds|ms)_sum|.*_total_us|dynamo_component_uptime_seconds|dynamo_tokio_.*")
NOT_COMPARED = {
    "looked at ten times as often in the original": r"dynamo_frontend_event_loop_.*",
    "a cache that we do not have": r"dynamo_frontend_tokenizer_cache_.*",
    "the address of the call-back in them has its own length": r"dynamo_transport_tcp_bytes_sent_total",
    "acknowledgements, which the original does not count": r"dynamo_transport_tcp_bytes_received_total",
    "of the last request, not added to": r"dynamo_frontend_worker_last_.*",
    "our own": r"dynamo_fe_.*",
}
# In a batch the original shows one prompt of many, and one stream made of many.
ONE_OF_BATCH = re.compile(
    r"dynamo_frontend_((in|out)put_sequence_tokens_.*|inter_token_latency_seconds_count|tokenizer_latency_ms_count)"
)
IN_HAND = re.compile(r"dynamo_frontend_(active_requests|stage_requests)|dynamo_request_plane_inflight_requests")


@dataclass(frozen=True)
class Case:
    """A request and what its worker says to it; `leaves` is said by the worker when the client is to go."""

    name: str
    path: str
    body: Any
    script: Any
    leaves: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def token(*ids: int, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"token_ids": list(ids)} | ({"finish_reason": finish} if finish else {}) | more


THREE = [token(272), token(273, 274), token(275, finish="length")]
# A worker that ended at once could make the real frontend count a success, as it now and then does when the client of
# an answer that goes out whole leaves: that one is not among the cases.
GONE = [{"!wait_cancel": 10}, {"!sleep": 0.5}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 4}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://pictures.test/a.png"}}]}]


def chat(name: str, script: Any = THREE, *, leaves: bool = False, **fields: Any) -> Case:
    return Case(name, CHAT, {"model": "tiny", "messages": HELLO, **fields}, script, leaves)


def completion(name: str, script: Any = THREE, **fields: Any) -> Case:
    return Case(name, COMPLETIONS, {"model": "tiny", "prompt": "hello", **fields}, script)


CASES = [
    chat("chat"),
    chat("chat, stream", stream=True),
    chat("usage of the worker", [token(272), token(5, finish="stop", completion_usage=USAGE)]),
    chat("no token", [token(finish="stop")]),
    chat("an item without a token first", [token(), *THREE], stream=True),
    chat("one token", [token(272, finish="length")], stream=True),
    chat("text of the worker", [token(272, 273, text="abc"), token(finish="stop")]),
    chat("text without tokens", [token(text="abc"), token(finish="stop")]),
    chat("end of sequence", [token(272), token(2, finish="eos")]),
    chat("stop string", [token(272), token(273, 274), token(5, finish="stop")], stop=["e"]),
    chat("two choices", [token(272, index=0), token(272, index=1), token(5, index=0, finish="stop"),
                         token(5, index=1, finish="stop")], n=2, temperature=1),
    chat("tools", tools=[TOOL]),
    chat("picture", messages=PICTURE),
    chat("log probabilities", [token(272, log_probs=[-0.5]), token(finish="stop")], logprobs=True),
    chat("reserved tokens", nvext={"token_data": [5, 6, 7]}),
    completion("completion"),
    completion("completion, stream", stream=True, stream_options={"include_usage": True}),
    completion("completion of tokens", prompt=[5, 6]),
    completion("batch", prompt=["hello", "hello there you"]),
    completion("batch, stream", prompt=[[5], [6, 7]], stream=True),
    completion("nobody's token", prompt=[9_999_999]),
    completion("empty prompt", prompt=""),
    completion("wrong type", prompt=5.5),
    completion("too many choices", n=500),
    chat("wrong type in chat", messages=5),
    chat("wrong type within a message", messages=[{"role": "user", "content": 5}]),
    chat("no such role", messages=[{"role": "nobody", "content": "x"}]),
    chat("beyond the range", temperature=9),
    chat("unknown field", zork=1),
    chat("old field", function_call="auto"),
    chat("unknown model", model="zork"),
    chat("unknown model and beyond the range", model="zork", n=0),
    completion("unknown model of completions", model="zork", stream=True),
    chat("unknown worker", nvext={"backend_instance_id": 5}),
    chat("rank without a worker", nvext={"dp_rank": 1}),
    chat("nobody's token data", nvext={"token_data": [9_999_999]}),
    chat("two constraints", guided_regex="a", guided_json={"type": "object"}),
    chat("no such tool", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
    Case("no JSON", CHAT, b"{", THREE),
    Case("no JSON for completions", COMPLETIONS, b"[1", THREE),
    Case("no JSON type", CHAT, {"model": "tiny", "messages": HELLO}, THREE, headers=(("content-type", "text/plain"),)),
    Case("too many headers", CHAT, {"model": "tiny", "messages": HELLO}, THREE,
         headers=tuple((f"x-dynamo-meta-{index}", "1") for index in range(70))),
    chat("refused at once", [{"!http": [429, "slow down"]}]),
    chat("refused at once, stream", [{"!http": [429, "slow down"]}], stream=True),
    chat("refused by another status", [{"!http": [503, "later"]}]),
    chat("refused by another status, stream", [{"!http": [503, "later"]}], stream=True),
    chat("fails at once", [{"!raise": "boom"}]),
    chat("fails at once, stream", [{"!raise": "boom"}], stream=True),
    chat("refused as broken", [{"!http": [502, "broken"]}]),
    chat("refused as full", [{"!http": [529, "full"]}]),
    chat("refused as unprocessable", [{"!http": [422, "no"]}]),
    chat("out of time", [{"!raise": ["TimeoutError", "late"]}]),
    chat("out of time, stream", [{"!raise": ["TimeoutError", "late"]}], stream=True),
    chat("out of time later", [token(272), {"!raise": ["TimeoutError", "late"]}]),
    chat("gateway out of time", [{"!http": [504, "late"]}]),
    chat("full later", [token(272), {"!raise": ["ResourceExhausted", "full"]}]),
    chat("connection lost later", [token(272), {"!raise": ["ConnectionError", "gone"]}]),
    chat("connection lost", [{"!raise": ["ConnectionError", "gone"]}], stream=True),
    completion("fails at once in completions", [{"!raise": ["InvalidArgument", "bad"]}]),
    chat("fails later", [token(272), {"!raise": "boom"}]),
    chat("fails later, stream", [token(272), {"!raise": ["InvalidArgument", "bad"]}], stream=True),
    chat("overloaded", [{"!raise": ["ResourceExhausted", "full"]}]),
    chat("the engine fails", [token(272), token(finish="error")]),
    chat("client leaves a stream", [token(272), *GONE], leaves=True, stream=True),
    chat("client leaves before anything came", GONE, leaves=True, stream=True),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with side_by_side(tmp_path_factory.mktemp("metrics")) as found:
        yield found


def ask(port: int, case: Case, worker: ScriptedWorker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
        headers = {"content-type": "application/json", **dict(case.headers)}
        connection.request("POST", case.path, body=body, headers=headers)
        if case.leaves:
            worker.wait_for(1)
        else:
            connection.getresponse().read()
    finally:
        connection.close()


def compared(page: Page, *, batch: bool) -> Page:
    found: Page = {}
    for (name, *labels), value in page.items():
        if TIMES.fullmatch(name) or any(re.fullmatch(pattern, name) for pattern in NOT_COMPARED.values()):
            continue
        if batch and ONE_OF_BATCH.fullmatch(name):
            continue
        own = ("router_id=", "worker_id=") if name.startswith("dynamo_component_") else ()
        found[name, *(label for label in labels if not label.startswith(own or "\0"))] = value
    return found


def added(frontend: Frontend, case: Case, worker: ScriptedWorker) -> Page:
    """What the case adds, once nothing of it is in hand any more and another look finds nothing new."""
    worker.forget()
    worker.say(case.script)
    before = scrape(frontend.port)
    ask(frontend.port, case, worker)
    deadline = time.monotonic() + PATIENCE_SECS
    found: Page | None = None
    while True:
        after = scrape(frontend.port)
        grown = growth(before, after)
        previous, found = found, compared(grown, batch=case.name.startswith("batch"))
        in_hand = any(value for (name, *_), value in after.items() if IN_HAND.fullmatch(name))
        names = {name for name, *_ in grown}
        # it is counted in both a moment later
        left = names >= {"dynamo_frontend_disconnected_clients", "dynamo_frontend_requests_total"}
        if not in_hand and left is case.leaves and found == previous:
            return found
        assert time.monotonic() < deadline, f"{case.name}: still in hand"


def test_every_request_adds_the_same(pair: Pair) -> None:
    unequal = []
    for case in CASES:
        theirs, ours = (added(frontend, case, pair.worker) for frontend in (pair.real, pair.ours))
        different = sorted(sample for sample in theirs | ours if theirs.get(sample) != ours.get(sample))
        unequal += [f"{case.name}: {sample} real {theirs.get(sample)} ours {ours.get(sample)}" for sample in different]
    assert not unequal, "\n" + "\n".join(unequal)
