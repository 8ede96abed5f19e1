"""Ids outside the vocabulary, wherever a request may name one."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.token_ids import check_token_ids
from dynamo_fe.protocol.openai import ChatRequest, NvExt

FIELDS: list[tuple[str, Any, Any]] = [
    ("stop_token_ids", [3, 299], [300]),
    ("allowed_token_ids", [0], [-1]),
    ("logprob_token_ids", [5], [1 << 40]),
    ("bad_words_token_ids", [[1, 2], [3]], [[1], [2, 300]]),
    ("stop", ["a", 5], [5, 300]),
    ("logit_bias", {"299": 1}, {"300": 1}),
    ("nvext", NvExt(token_data=[1]), NvExt(token_data=[1, 300])),
]


@pytest.mark.parametrize(("name", "good", "bad"), FIELDS)
def test_every_field_with_token_ids(name: str, good: Any, bad: Any) -> None:
    check_token_ids(ChatRequest(model="m", messages=[], **{name: good}), 300)
    with pytest.raises(Refusal, match=f"{name}.*outside the model's vocabulary of 300"):
        check_token_ids(ChatRequest(model="m", messages=[], **{name: bad}), 300)
