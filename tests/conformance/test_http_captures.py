"""Every capture of the real frontend, asked of ours in front of real workers: equal but for the differences named here.

Each allowed difference names the row of README's "Differences from Dynamo" that it comes under.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import captures
from tests.support.captures import Answer, Case
from tests.support.frontends import Frontend, our_frontend
from tests.support.models import TINY_MODEL_DIR
from tests.support.parser_compare import aggregate
from tests.support.peer import ScriptedWorker
from tests.support.stores import FileStore

PARSERS = {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"}
PARSER_WORDS = "Failed to deserialize the JSON body into the target type: "


@dataclasses.dataclass(frozen=True)
class Allowed:
    """A difference: the row it comes under, what is expected in place of the capture, what is not compared.

    `expected` and `worker_sees` change what the capture holds, `reshape` and `loosen` are applied to both, `names`
    has to stand in the answer.
    """

    row: str
    expected: Callable[[Answer], Answer] = lambda answer: answer
    worker_sees: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: request
    loosen: Callable[[Any], Any] = lambda content: content
    reshape: Callable[[Answer], Answer] = lambda answer: answer
    names: str = ""


def unary_error(status: int, message: str, reason: str) -> Callable[[Answer], Answer]:
    body = json.dumps({"message": message, "type": reason, "code": status}).encode()
    return lambda _: Answer(status, {"content-type": "application/json"}, body)


def only_parser_prefix(content: Any) -> Any:
    """The words behind the prefix are the parser's own."""
    message = content["message"]
    return content | {"message": PARSER_WORDS if message.startswith(PARSER_WORDS) else message}


def without_embedding_model(content: Any) -> Any:
    """The captured frontend had a third model, which no worker serves here; the order of the list is not stable."""
    served = [entry for entry in content["data"] if entry["id"] != "emb"]
    return content | {"data": sorted(served, key=lambda entry: str(entry["id"]))}


def annotations_in_any_order(content: Any) -> Any:
    """The original sends the annotation frames in an order that differs from run to run."""
    annotations = [frame for frame in content if str(frame[0]).startswith("event: ")]
    return [*sorted(annotations), *content[len(annotations) :]]


def any_worker_and_timing(content: Any) -> Any:
    """Ids of workers and measured times differ from run to run; which of them there are does not."""
    extra = dict(content.get("nvext", {}))
    for key in extra.keys() & {"worker_id", "timing"}:
        extra[key] = sorted(extra[key])
    return content | {"nvext": extra}


def parameters_in_any_order(content: Any) -> Any:
    head, names = content["message"].split(": `", 1)
    return content | {"message": [head, sorted(names.strip("`").split("`, `"))]}


def choices_in_any_order(content: Any) -> Any:
    """The prompts of a batch interleave freely; each one's own frames keep their order."""
    *chunks, usage, done = content
    return [*sorted(chunks, key=lambda frame: str(frame[0][1]["id"])), usage, done]


def with_logit_bias(request: dict[str, Any]) -> dict[str, Any]:
    extra = request["extra_args"]
    options = extra["sampling_options"] | {"logit_bias": {"5": 10}}
    return request | {"extra_args": extra | {"sampling_options": options}}


def with_special_tokens(request: dict[str, Any]) -> dict[str, Any]:
    """A parser has to see its markers, which are special tokens of many models."""
    return request | {"output_options": request["output_options"] | {"skip_special_tokens": False}}


def as_one_message(answer: Answer) -> Answer:
    """A stream told as the message it makes, with its frames' common members and its usage; ids of calls are any."""
    frames = captures.frames(answer.body.decode())
    chunks = [frame[0][1] for frame in frames[:-1]]
    result, breaches = aggregate([_delta(chunk) for chunk in chunks if chunk["choices"]])
    assert frames[-1] == ["data: [DONE]"] and not breaches, breaches
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    for call in result["tool_calls"]:
        assert captures.UUID.fullmatch(call.pop("id").removeprefix("call-"))
    heads = {json.dumps({key: chunk[key] for key in ("id", "model", "object")}) for chunk in chunks}
    told = {"message": result, "heads": sorted(heads), "usage": chunks[-1].get("usage")}
    return dataclasses.replace(answer, headers={"content-type": "application/json"}, body=json.dumps(told).encode())


def _delta(chunk: dict[str, Any]) -> dict[str, Any]:
    (choice,) = chunk["choices"]
    return choice["delta"] | ({"finish_reason": choice["finish_reason"]} if choice["finish_reason"] else {})


PARSED = "tool calls and reasoning"
SEES_MARKERS = Allowed(PARSED, worker_sees=with_special_tokens)
STREAMS_CALLS = Allowed(PARSED, worker_sees=with_special_tokens, reshape=as_one_message)
FIRST_ITEM = "failure before the first token of a stream"
WRONG_TYPE = "wrong type"
VARIES = "differs from run to run in the original"
ALLOWED: dict[str, Allowed] = {
    "chat_annotations_stream": Allowed(VARIES, loosen=annotations_in_any_order),
    "chat_nvext_extra_fields": Allowed(VARIES, loosen=any_worker_and_timing),
    "chat_sampling_params": Allowed("logit_bias", worker_sees=with_logit_bias),
    "chat_reasoning_stream": STREAMS_CALLS,
    "chat_tool_auto_stream": STREAMS_CALLS,
    "chat_tool_auto_unary": SEES_MARKERS,
    "chat_tool_named_unary": SEES_MARKERS,
    "chat_tool_none_unary": SEES_MARKERS,
    "chat_tool_required_stream": STREAMS_CALLS,
    "cmpl_batch_stream": Allowed(VARIES, loosen=choices_in_any_order),
    "err_bad_json": Allowed("the parser's own wording", loosen=only_parser_prefix),
    "err_nvext_unknown_field": Allowed("the parser's own wording", loosen=only_parser_prefix, names="foo"),
    "err_unknown_worker_id": Allowed(
        "the `error` object says more", names="Invalid request: no worker of the model has"
    ),
    "err_wrong_type": Allowed(WRONG_TYPE, loosen=only_parser_prefix, names="max_tokens"),
    "err_unsupported_param": Allowed(VARIES, loosen=parameters_in_any_order),
    "err_worker_529_stream": Allowed(
        FIRST_ITEM, expected=unary_error(529, "Service temporarily overloaded", "Overloaded")
    ),
    "err_worker_exception_first_stream": Allowed(
        FIRST_ITEM, expected=lambda _: captures.load("err_worker_exception").answer
    ),
    "models_list": Allowed(VARIES, loosen=without_embedding_model),
}
SAME = Allowed("equal")


@dataclasses.dataclass(frozen=True)
class Served:
    """Our frontend over one real worker for each model of the captures."""

    frontend: Frontend
    workers: dict[str, ScriptedWorker]

    def worker_for(self, case: Case) -> ScriptedWorker:
        body = json.loads(case.body) if case.body and case.said is not None else {}
        return self.workers[body.get("model", "tiny")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("captures")
    store = FileStore(home / "store")
    workers: dict[str, ScriptedWorker] = {}
    frontend: Frontend | None = None
    try:
        for name, config in (("tiny", {}), ("toolm", PARSERS)):
            endpoint = f"dyn://llmfx.{name}.generate"
            workers[name] = ScriptedWorker(
                store, TINY_MODEL_DIR, home / name, name=name, endpoint=endpoint, runtime_config=config
            )
        for worker in workers.values():
            worker.wait_ready()
        frontend = our_frontend(store.environment, log=home / "frontend.log")
        frontend.wait_listed(*workers)
        yield Served(frontend, workers)
    finally:
        if frontend is not None:
            frontend.stop()
        for worker in workers.values():
            worker.stop()


def without_openai_error(answer: Answer) -> Answer:
    """Check and take away the object that an error body of ours carries beside the original's keys."""
    if answer.status < 400 or answer.content_type != "application/json":
        return answer
    body = json.loads(answer.body)
    error = body.pop("error")
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == body["message"] or error["message"].startswith(f"{body['message']}: ")
    return dataclasses.replace(answer, body=json.dumps(body).encode())


def with_only(headers: dict[str, str], wanted: dict[str, str]) -> dict[str, str]:
    """Headers that the original does not send (Retry-After, X-Accel-Buffering) are ours to add."""
    return {name: value for name, value in headers.items() if name in wanted}


@pytest.mark.parametrize("name", captures.names())
def test_capture(served: Served, name: str) -> None:
    capture, allowed = captures.load(name), ALLOWED.get(name, SAME)
    worker = served.worker_for(capture)
    worker.forget()
    worker.say(capture.said)
    answer = captures.ask(served.frontend.port, capture)
    expected = allowed.expected(capture.answer)
    assert answer.status == expected.status, answer.body
    worker.wait_for(len(capture.saw))

    assert allowed.names in answer.body.decode()
    saw = [entry | {"request": allowed.worker_sees(entry["request"])} for entry in capture.saw]
    ours = captures.comparable(allowed.reshape(without_openai_error(answer)), worker.requests())
    theirs = captures.comparable(allowed.reshape(expected), saw)
    ours["headers"] = with_only(ours["headers"], theirs["headers"])
    for exchange in (ours, theirs):
        exchange["content"] = allowed.loosen(exchange["content"])
    assert ours == theirs


def test_every_named_case_exists() -> None:
    assert ALLOWED.keys() <= set(captures.names())
