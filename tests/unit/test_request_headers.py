"""Headers that place, pin and mark an inference request."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.request_headers import agent_context, apply_headers, metadata_of, rank_header
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, NvExt


def exchange(**headers: str) -> Exchange:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "POST", "path": "/", "query_string": b"", "headers": given}
    unused: Any = None
    return Exchange(scope, unused, unused)


def request(role: str = "user", nvext: NvExt | None = None) -> ChatRequest:
    return ChatRequest(model="m", messages=[{"role": role, "content": "a"}], nvext=nvext)


def applied(headers: dict[str, str], nvext_off: bool = False) -> dict[str, Any]:
    asked = request(nvext=NvExt(cache_salt="body", prefill_worker_id=1))
    apply_headers(exchange(**headers), asked, nvext_off)
    assert asked.nvext is not None
    return {name: getattr(asked.nvext, name) for name in asked.nvext.__struct_fields__}


def test_headers_beat_the_body() -> None:
    found = applied({"x_dynamo_prefill_instance_id": "7", "x_prefill_instance_id": "8", "x_tenant_id": " t "})
    assert (found["prefill_worker_id"], found["cache_salt"]) == (7, "t")
    hints = applied({"x_dynamo_request_priority": "-5", "x_dynamo_request_strict_priority": "3"})["agent_hints"]
    assert (hints.priority, hints.strict_priority) == (-5, 3)


@pytest.mark.parametrize("value", ["nope", "-1", "18446744073709551616", "5.5", ""])
def test_what_cannot_be_read_counts_as_absent(value: str) -> None:
    assert applied({"x_dynamo_prefill_instance_id": value})["prefill_worker_id"] == 1


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"x_data_parallel_rank": " 7 "}, ("x-data-parallel-rank", "7", 7)),
        ({"x_data_parallel_rank": "7", "x_dynamo_dp_rank": "abc"}, ("x-dynamo-dp-rank", "abc", None)),
        ({"x_dp_rank": ""}, ("x-dp-rank", "", None)),
        ({"x_dp_rank": "\u00e9" + "9" * 99}, ("x-dp-rank", "\ufffd\ufffd" + "9" * 30, None)),
    ],
)
def test_the_header_that_is_there_to_name_a_rank(headers: dict[str, str], found: Any) -> None:
    assert rank_header(exchange(**headers)) == found


def test_without_nvext_only_the_salt_stays() -> None:
    found = applied({"x_dynamo_prefill_instance_id": "7", "x_dynamo_request_priority": "5"}, nvext_off=True)
    assert {name: value for name, value in found.items() if value is not None} == {"cache_salt": "body"}


@pytest.mark.parametrize(
    ("headers", "session", "parent"),
    [
        ({"x_dynamo_session_id": "d", "x_session_id": "s"}, "d", None),
        ({"x_session_id": "s", "x_parent_session_id": "p"}, "s", "p"),
        ({"x_claude_code_session_id": "c", "x_claude_code_agent_id": "a"}, "a", "c"),
        ({"thread_id": "t", "x_codex_parent_thread_id": "p", "session_id": "s"}, "t", "p"),
    ],
)
def test_the_session_of_each_client(headers: dict[str, str], session: str, parent: str | None) -> None:
    found = agent_context(exchange(**headers), request())
    assert found is not None
    assert (found["session_id"], found.get("parent_session_id")) == (session, parent)
    assert found["input_trigger"] == "user_message"


@pytest.mark.parametrize("headers", [{}, {"session_id": "s"}, {"x_parent_session_id": "p"}, {"x_session_id": " "}])
def test_no_session(headers: dict[str, str]) -> None:
    assert agent_context(exchange(**headers), request("tool")) is None


def test_more_than_64_entries_of_metadata_are_431() -> None:
    taken = {f"x_meta_{number}": "v" for number in range(64)}
    assert len(metadata_of(exchange(**taken), "X-Meta-") or {}) == 64
    with pytest.raises(Refusal, match="exceed the limit of 64 entries") as caught:
        metadata_of(exchange(**taken, x_meta_64="v"), "x-meta-")
    assert caught.value.own_status == 431
