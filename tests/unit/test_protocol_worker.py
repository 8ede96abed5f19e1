"""Items of a token-in worker: what is accepted and what is a wrong type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo_fe.protocol.worker import FinishError, WorkerItem, decode_envelope, decode_usage, decode_value_envelope


def decode(item: Any) -> WorkerItem | None:
    as_json = decode_envelope(msgspec.json.encode({"data": item}), "json").data
    as_msgpack = decode_envelope(msgspec.msgpack.encode({"data": item}), "msgpack").data
    assert as_json == as_msgpack
    return as_json


@pytest.mark.parametrize("reason", ["stop", "length", "eos", "cancelled", "content_filter", "abort", "error", None])
def test_finish_reasons(reason: str | None) -> None:
    item = decode({"token_ids": [], "finish_reason": reason})
    assert item is not None and item.finish_reason == reason


def test_a_finish_reason_with_its_error() -> None:
    item = decode({"token_ids": [], "finish_reason": {"error": "engine"}})
    assert item is not None and item.finish_reason == FinishError("engine")


WRONG: list[dict[str, Any]] = [
    {}, {"token_ids": None}, {"token_ids": [-1]}, {"token_ids": [2**32]}, {"token_ids": ["1"]}, {"token_ids": [1.0]},
    {"token_ids": [], "finish_reason": "tool_calls"}, {"token_ids": [], "index": -1}, {"token_ids": [], "text": 1},
    {"token_ids": [], "log_probs": ["x"]}, {"token_ids": [], "completion_usage": {"prompt_tokens": 1}},
    {"token_ids": [], "finish_reason": {"error": 1}}, {"token_ids": [], "top_logprobs": [[{"logprob": 0}]]},
]  # fmt: skip


@pytest.mark.parametrize("item", WRONG)
def test_wrong_types(item: dict[str, Any]) -> None:
    for codec in ("json", "msgpack"):
        encoder: Any = msgspec.json if codec == "json" else msgspec.msgpack
        with pytest.raises(msgspec.ValidationError):
            decode_envelope(encoder.encode({"data": item}), codec)


def test_everything_at_once() -> None:
    logprob = {"rank": 1, "token_id": 275, "token": None, "logprob": -0.5, "bytes": [104]}
    item = decode(
        {
            "token_ids": [275, 2**32 - 1],
            "tokens": ["h", None],
            "text": "h",
            "log_probs": [-0.5, -1],
            "top_logprobs": [[logprob]],
            "stop_reason": 7,
            "index": 3,
            "disaggregated_params": {"any": [1]},
            "completion_usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "something_new": {"x": 1},
        }
    )
    assert item is not None and item.top_logprobs is not None and item.completion_usage is not None
    assert item.top_logprobs[0][0].bytes == [104]
    assert item.completion_usage.total_tokens == 3


def test_envelopes_without_data() -> None:
    envelope = decode_envelope(msgspec.msgpack.encode({"event": "error", "comment": ["a"]}), "msgpack")
    assert (envelope.data, envelope.event, envelope.error) == (None, "error", None)


def test_values_of_any_kind() -> None:
    raw = msgspec.json.encode({"data": {"object": "chat.completion.chunk"}})
    assert decode_value_envelope(raw, "json").data == {"object": "chat.completion.chunk"}


def test_usage() -> None:
    raw = msgspec.msgpack.encode(
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    )
    details = decode_usage(raw).prompt_tokens_details
    assert details is not None and details.cached_tokens == 4
    with pytest.raises(msgspec.DecodeError):
        decode_usage(b"\x80")
