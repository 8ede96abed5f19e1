"""Fields of a request as the worker gets them."""

from typing import Any

import msgspec

from dynamo_fe.pipeline import options
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest
from dynamo_fe.protocol.worker_request import (
    OutputOptions,
    SamplingOptions,
    Single,
    StopConditions,
    WorkerRequest,
    encode_request,
)

EOS = [1, 5]


def chat(**fields: Any) -> ChatRequest:
    return msgspec.convert({"model": "m", "messages": [], **fields}, ChatRequest)


def test_the_newer_limit_wins_and_nothing_is_defaulted() -> None:
    assert options.stop_conditions(chat(max_tokens=7, max_completion_tokens=9), EOS).max_tokens == 9
    assert options.stop_conditions(chat(), EOS) == StopConditions(stop_token_ids_hidden=EOS)


def test_ignore_eos_drops_every_stop_id() -> None:
    stop = options.stop_conditions(chat(ignore_eos=True, stop_token_ids=[7]), EOS)
    assert (stop.stop_token_ids, stop.stop_token_ids_hidden, stop.ignore_eos) == (None, None, True)


def test_token_ids_in_stop_win_over_stop_token_ids() -> None:
    stop = options.stop_conditions(chat(stop=[7], stop_token_ids=[8]), EOS)
    assert (stop.stop, stop.stop_token_ids) == (None, [7])


def test_top_k_zero_means_all_and_greedy_clears_temperature_and_top_p() -> None:
    sampling = options.sampling_options(chat(top_k=0, temperature=0.5, top_p=0.5, nvext={"greed_sampling": True}), None)
    assert (sampling.top_k, sampling.temperature, sampling.top_p) == (-1, None, None)


def test_logprobs_of_both_apis() -> None:
    assert options.output_options(chat(logprobs=True), False).logprobs == 1
    assert options.output_options(chat(logprobs=True, top_logprobs=0), False).logprobs == 0
    assert options.output_options(chat(top_logprobs=3), False).logprobs is None
    request = msgspec.convert({"model": "m", "prompt": "x", "logprobs": 2, "echo": True}, CompletionRequest)
    assert options.output_options(request, False) == OutputOptions(logprobs=2, prompt_logprobs=1)


def test_hints_pins_and_salt_reach_routing() -> None:
    nvext = {"agent_hints": {"priority": -3, "osl": 9}, "dp_rank": 1, "cache_salt": ""}
    assert options.routing(chat(nvext=nvext, cache_salt="s")) == {
        "dp_rank": 1, "cache_salt": "s", "expected_output_tokens": 9, "priority_jump": 0.0, "priority": -3,
    }  # fmt: skip
    assert options.extra_args(chat(cache_salt="s"), token_in=True) == {"nvext": {"cache_salt": "s", "token_in": True}}
    assert options.extra_args(chat(), token_in=False) is msgspec.UNSET


def test_special_tokens_stay_in_a_text_that_is_read_unless_the_client_says_otherwise() -> None:
    assert options.output_options(chat(), True).skip_special_tokens is False
    assert options.output_options(chat(skip_special_tokens=True), True).skip_special_tokens is True
    assert options.output_options(chat(), False).skip_special_tokens is None


def test_numbers_travel_in_single_precision_and_options_that_are_not_set_are_left_out() -> None:
    body = WorkerRequest(
        model="m",
        token_ids=[1, 300],
        stop_conditions=StopConditions(),
        sampling_options=SamplingOptions(temperature=Single(0.7)),
        output_options=OutputOptions(),
        eos_token_ids=[],
        mdc_sum=None,
        annotations=[],
        routing={},
    )
    packed = encode_request(body, "msgpack")
    assert b"\xabtemperature\xca\x3f\x33\x33\x33" in packed
    decoded = msgspec.msgpack.decode(packed)
    assert "extra_args" not in decoded and decoded["router_config_override"] is None
    assert msgspec.json.decode(encode_request(body, "json"))["sampling_options"]["temperature"] == 0.7
