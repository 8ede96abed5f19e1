"""`nvext.agent_hints.speculative_prefill`: what a worker is asked after the answer, beside the real frontend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import ask, until
from tests.support.frontends import Frontend
from tests.support.side_by_side import Pair, side_by_side

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
HINT = {"agent_hints": {"speculative_prefill": True}}
SAID = {"role": "assistant", "content": "a"}
FINISH = {"token_ids": [], "finish_reason": "stop"}
TWO = [{"token_ids": [275]}, {"token_ids": [280]}, FINISH]
CASES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "unary": ({}, TWO),
    "stream": ({"stream": True}, TWO),
    "settings of the answer": (
        {"temperature": 0.5, "stop": ["x"], "logprobs": True, "nvext": {**HINT, "cache_salt": "s"}}, TWO,
    ),
    "no answer": ({}, [FINISH]),
    "two choices": (
        {"n": 2, "temperature": 1},
        [*({"token_ids": [text], "index": at} for at, text in enumerate((275, 280))),
         *(FINISH | {"index": at} for at in (0, 1))],
    ),
    "tokens in place of the prompt": ({"nvext": {**HINT, "token_data": [5, 6]}}, TWO),
    "history": ({"messages": [{"role": "system", "content": "s"}, *HELLO, SAID, *HELLO]}, TWO),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, TWO),
    "text of the worker": ({}, [{"token_ids": [275], "text": "abc"}, FINISH]),
    "stop string": ({"stop": ["wor"]}, TWO),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with side_by_side(tmp_path_factory.mktemp("speculative"), arguments=()) as found:
        yield found


def chat(frontend: Frontend, fields: dict[str, Any]) -> int:
    body = {"model": "tiny", "messages": HELLO, "nvext": HINT} | fields
    return ask(f"{frontend.url}/v1/chat/completions", body)[0]


@pytest.mark.parametrize("name", CASES)
def test_the_next_turn_is_read_ahead_as_there(pair: Pair, name: str) -> None:
    fields, script = CASES[name]
    ahead = []
    for frontend in (pair.real, pair.ours):
        pair.worker.forget()
        pair.worker.say(script)
        assert chat(frontend, fields) == 200
        pair.worker.wait_for(2, ends=2)
        first, second = pair.worker.requests()
        assert first["id"] != second["id"] and second["metadata"] == {}
        ahead.append(second["request"])
    assert ahead[0] == ahead[1]
    assert ahead[1]["model"] == "speculative_prefill" and ahead[1]["stop_conditions"]["max_tokens"] == 1


def test_nothing_is_read_ahead_of_an_answer_that_failed(pair: Pair) -> None:
    pair.worker.forget()
    pair.worker.say({"scripts": [[{"token_ids": [275]}, {"!raise": "x"}], TWO]})
    assert chat(pair.ours, {}) == 500
    assert chat(pair.ours, {"nvext": None}) == 200
    until(lambda: len(pair.worker.ends()) == 2, "both have ended")
    assert [entry["request"]["model"] for entry in pair.worker.requests()] == ["tiny", "tiny"]
