"""When an answer may go on elsewhere, and what the next worker is asked."""

from __future__ import annotations

from typing import Any

import pytest

from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.migration import MigrationRules, continued
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, StopConditions, WorkerRequest


def request(**fields: Any) -> WorkerRequest:
    values: dict[str, Any] = {
        "model": "m",
        "token_ids": [1, 2, 3],
        "stop_conditions": StopConditions(),
        "sampling_options": SamplingOptions(),
        "output_options": OutputOptions(),
        "eos_token_ids": [],
        "mdc_sum": None,
        "annotations": [],
        "routing": {},
    }
    return WorkerRequest(**{**values, **fields})


def prepared(body: WorkerRequest, choices: int = 1) -> Prepared:
    model = ServedModel("m", ModelCard(display_name="m"), "", 0, [], None, None, 0)
    return Prepared(model, body, len(body.token_ids), choices, None)


@pytest.mark.parametrize(
    ("limits", "rest"),
    [
        ((None, None), (None, None)),
        ((10, 5), (8, 3)),
        ((2, 1), (0, 0)),
        ((1, None), (0, None)),
    ],
)
def test_the_rest_is_asked_for(limits: tuple[int | None, int | None], rest: tuple[int | None, int | None]) -> None:
    stop = StopConditions(max_tokens=limits[0], min_tokens=limits[1], stop=["x"], ignore_eos=True)
    body = request(stop_conditions=stop)
    other = continued(body, [7, 8])
    assert other.token_ids == [1, 2, 3, 7, 8]
    assert (other.stop_conditions.max_tokens, other.stop_conditions.min_tokens) == rest
    assert (other.stop_conditions.stop, other.stop_conditions.ignore_eos) == (["x"], True)
    assert body.token_ids == [1, 2, 3] and body.stop_conditions is stop


def test_before_the_first_token_it_is_the_same_request() -> None:
    body = request()
    assert continued(body, []) is body


def test_requests_that_never_move() -> None:
    rules = MigrationRules(3, None)
    assert rules.received_limit(prepared(request())) > 100_000
    assert MigrationRules(0, None).received_limit(prepared(request())) < 0
    assert rules.received_limit(prepared(request(), choices=2)) < 0
    assert rules.received_limit(prepared(request(prompt_embeds="AAAA"))) < 0
    guided = SamplingOptions(guided_decoding={"regex": "a*"})
    assert rules.received_limit(prepared(request(sampling_options=guided))) < 0


def test_the_longest_sequence_that_moves() -> None:
    assert MigrationRules(3, 10).received_limit(prepared(request())) == 7
    assert MigrationRules(3, 2).received_limit(prepared(request())) == 0
