"""Ids outside the vocabulary, wherever a request may name one."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.token_ids import check_token_ids
from dynamo_fe.protocol.openai import ChatRequest, NvExt

# name, good, bad, where the bad one stands
FIELDS: list[tuple[str, Any, Any, str]] = [
    ("stop_token_ids", [3, 299], [299, 300], r"stop_token_ids\[1\]`: token id 300"),
    ("allowed_token_ids", [0], [-1], r"allowed_token_ids\[0\]`: token id -1"),
    ("logprob_token_ids", [5], [1 << 40], r"logprob_token_ids\[0\]`: token id 1099511627776"),
    ("bad_words_token_ids", [[1, 2], [3]], [[1], [2, 300]], r"bad_words_token_ids\[1\]\[1\]`: token id 300"),
    ("stop", ["a", 5], [5, 300], r"stop\[1\]`: token id 300"),
    ("logit_bias", {"299": 1}, {"300": 1}, "logit_bias`: token id 300"),
]


@pytest.mark.parametrize(("name", "good", "bad", "place"), FIELDS)
def test_every_field_with_token_ids(name: str, good: Any, bad: Any, place: str) -> None:
    check_token_ids(ChatRequest(model="m", messages=[], **{name: good}), 300)
    with pytest.raises(Refusal, match=rf"`{place} is outside the model's vocabulary of 300 \(0 to 299\)") as refused:
        check_token_ids(ChatRequest(model="m", messages=[], **{name: bad}), 300)
    assert refused.value.param == name


def test_tokens_in_place_of_the_prompt() -> None:
    check_token_ids(ChatRequest(model="m", messages=[], nvext=NvExt(token_data=[299])), 300)
    with pytest.raises(Refusal, match="Invalid request") as refused:
        check_token_ids(ChatRequest(model="m", messages=[], nvext=NvExt(token_data=[1, 300])), 300)
    assert refused.value.param == "nvext.token_data"
    said = "`nvext.token_data[1]`: token id 300 is outside the model's vocabulary of 300 (0 to 299)"
    assert refused.value.detail == said
