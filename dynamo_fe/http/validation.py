"""Ranges and combinations of request fields, with the messages of Dynamo 1.6.1 and in its order.

The order shows where a request breaks several rules: the first one is what its client is told.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from dynamo_fe.http.tool_rules import check_tools
from dynamo_fe.pipeline.demands import response_schema
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest
from dynamo_fe.protocol.single import plain_text, single

_MAX_TOKENS: Final = 1_048_576
_MAX_STOPS: Final = 32
_LEAST_EMBEDS_BYTES: Final = 100
_MOST_EMBEDS_BYTES: Final = 10 << 20
_COMPLETION_TOKEN_IDS: Final = "completion_token_ids"
# field: lowest, whether the lowest itself is allowed, highest, name in the message, words for the range
_RANGES: Final = {
    "temperature": (0.0, True, 2.0, "Temperature", "between 0 and 2"),
    "top_p": (0.0, False, 1.0, "Top_p", "between 0 and 1"),
    "min_p": (0.0, True, 1.0, "Min_p", "between 0 and 1"),
    "repetition_penalty": (0.0, False, 2.0, "Repetition penalty", "between 0 and 2"),
    "presence_penalty": (-2.0, True, 2.0, "Presence penalty", "between -2 and 2"),
    "frequency_penalty": (-2.0, True, 2.0, "Frequency penalty", "between -2 and 2"),
}

Request = ChatRequest | CompletionRequest


def check_chat(request: ChatRequest) -> None:
    """Raises Refusal for the first rule of a chat request that is broken."""
    if request.everyday:
        _check_everyday(request)
        return
    _check_thinking(request.thinking)
    if request.function_call is not None or request.functions is not None:
        field = "function_call" if request.function_call is not None else "functions"
        instead = "tool_choice" if field == "function_call" else "tools"
        raise Refusal.not_implemented(
            f"Validation: `{field}` is deprecated. Please migrate to use `{instead}` instead.", param=field
        )
    if not request.messages:
        raise _no_messages()
    _check_first(request)
    _check_range(request, "frequency_penalty")
    _check_logit_bias(request.logit_bias)
    if request.top_logprobs is not None and request.top_logprobs > 20:
        raise _broken(f"Top_logprobs must be between 0 and 20, got {request.top_logprobs}", "top_logprobs")
    _check_max_tokens(request.max_tokens, "Max tokens", "max_tokens")
    _check_max_tokens(request.max_completion_tokens, "Max completion tokens", "max_completion_tokens")
    _check_n(request.n)
    _check_one_choice(request, 1)
    _check_range(request, "presence_penalty")
    _check_stop(request.stop)
    _check_range(request, "temperature")
    _check_range(request, "top_p")
    check_tools(request.tools, request.tool_choice)
    _check_last(request)
    if request.add_generation_prompt is not False and request.continue_final_message:
        raise _broken(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.", "continue_final_message"
        )


def _check_everyday(request: ChatRequest) -> None:
    """The rules of `check_chat` that an everyday request can break, in the same order."""
    if not request.messages:
        raise _no_messages()
    _check_stream_options(request)
    _check_model(request)
    _check_max_tokens(request.max_tokens, "Max tokens", "max_tokens")
    _check_max_tokens(request.max_completion_tokens, "Max completion tokens", "max_completion_tokens")
    _check_range(request, "temperature")
    _check_range(request, "top_p")


def check_completion(request: CompletionRequest) -> None:
    """Raises Refusal for the first rule of a completions request that is broken."""
    prompts = count_prompts(request.prompt)
    _check_first(request)
    _check_embeds(request.prompt_embeds)
    if request.prompt_embeds is None:
        _check_prompt(request.prompt)
    _check_max_tokens(request.max_tokens, "Max tokens", "max_tokens")
    _check_range(request, "temperature")
    _check_range(request, "top_p")
    _check_n(request.n)
    _check_one_choice(request, prompts)
    if request.logprobs is not None and request.logprobs > 5:
        raise _broken(f"Logprobs must be between 0 and 5, got {request.logprobs}", "logprobs")
    _check_stop(request.stop)
    _check_range(request, "presence_penalty")
    _check_range(request, "frequency_penalty")
    _check_best_of(request.best_of, request.n)
    _check_logit_bias(request.logit_bias)
    _check_last(request)


def _check_first(request: Request) -> None:
    _check_stream_options(request)
    if request.unsupported:
        listed = ", ".join(f"`{key}`" for key in request.unsupported)
        raise _broken(f"Unsupported parameter(s): {listed}", request.unsupported[0])
    _check_chat_only(request)
    if request.cache_salt is not None and not isinstance(request.cache_salt, str):
        raise _broken("`cache_salt` must be a string", "cache_salt")
    _check_token_lists(request)
    _check_guided(request)
    _check_model(request)


def _check_stream_options(request: Request) -> None:
    if request.stream_options is not None and request.stream is not True:
        raise _broken("The 'stream_options' field is only allowed when 'stream' is set to true.", "stream_options")


def _check_model(request: Request) -> None:
    if not request.model:
        raise _broken("Model cannot be empty", "model")


def _no_messages() -> Refusal:
    return _broken("The 'messages' field cannot be empty. At least one message is required.", "messages")


def _check_chat_only(request: Request) -> None:
    if isinstance(request, ChatRequest):
        return
    for field in ("add_generation_prompt", "continue_final_message"):
        if getattr(request, field) is not None:
            raise _broken(
                "`add_generation_prompt` and `continue_final_message` are only supported on /v1/chat/completions", field
            )


def _check_last(request: Request) -> None:
    if request.user == "":
        raise _broken("User ID cannot be empty", "user")
    _check_range(request, "repetition_penalty")
    _check_range(request, "min_p")
    if request.top_k is not None and request.top_k < -1:
        raise _broken("Top_k must be null or greater than or equal to -1", "top_k")
    if request.n is not None and request.n > 1 and request.temperature == 0:
        raise _broken(
            "When n > 1, temperature must be greater than 0 to ensure diverse outputs. Got "
            f"n={request.n}, temperature={plain_text(request.temperature)}",
            "n",
        )


def _check_range(request: Request, field: str) -> None:
    value = getattr(request, field)
    if value is None:
        return
    low, low_allowed, high, name, words = _RANGES[field]
    held = single(value)
    if not (held <= high and (held > low or (low_allowed and held == low))):
        raise _broken(f"{name} must be {words}, got {plain_text(value)}", field)


def _check_thinking(thinking: Any) -> None:
    if thinking is None or isinstance(thinking, bool):
        return
    if isinstance(thinking, dict):
        if thinking.get("type") not in ("enabled", "disabled", "adaptive"):
            raise _broken("`thinking.type` must be `enabled`, `disabled`, or `adaptive`", "thinking")
    else:
        raise _broken(
            "`thinking` must be a boolean or an object with `type` set to `enabled`, `disabled`, or `adaptive`",
            "thinking",
        )


def count_prompts(prompt: Any) -> int:
    """The number of prompts. Raises Refusal for none, and for a list that mixes kinds."""
    prefix = "Failed to deserialize the JSON body into the target type: "
    if prompt is msgspec.UNSET:
        raise Refusal.invalid(f"{prefix}missing field `prompt`", param="prompt")
    if isinstance(prompt, str) or not prompt:
        return 1
    kinds = {type(entry) for entry in prompt}
    numbers = prompt if kinds == {int} else [token for entry in prompt if isinstance(entry, list) for token in entry]
    if len(kinds) != 1 or any(not 0 <= token < 1 << 32 for token in numbers):
        raise Refusal.invalid(f"{prefix}data did not match any variant of untagged enum Prompt", param="prompt")
    return 1 if kinds == {int} else len(prompt)


def _check_prompt(prompt: Any) -> None:
    if prompt == "":
        raise _broken("Prompt string cannot be empty", "prompt")
    if not prompt:
        raise _broken("Prompt string array cannot be empty", "prompt")
    for index, entry in enumerate([] if isinstance(prompt, str) else prompt):
        if entry in ("", []):
            kind = "string" if entry == "" else "integer array"
            raise _broken(f"Prompt {kind} at index {index} cannot be empty", "prompt")


def _check_embeds(embeds: str | None) -> None:
    if embeds is None:
        return
    try:
        size = len(base64.b64decode(embeds, validate=True))
    except binascii.Error as error:
        raise _broken("prompt_embeds must be valid base64-encoded data", "prompt_embeds") from error
    if size < _LEAST_EMBEDS_BYTES:
        raise _broken(
            f"prompt_embeds decoded data must be at least {_LEAST_EMBEDS_BYTES} bytes, got {size} bytes",
            "prompt_embeds",
        )
    if size > _MOST_EMBEDS_BYTES:
        raise _broken(f"prompt_embeds decoded data exceeds maximum size of 10MB, got {size} bytes", "prompt_embeds")


def _check_one_choice(request: Request, prompts: int) -> None:
    nvext = request.nvext
    if nvext is None or nvext.extra_fields is None or _COMPLETION_TOKEN_IDS not in nvext.extra_fields:
        return
    if prompts * (request.n or 1) != 1:
        raise _broken(
            '`nvext.extra_fields=["completion_token_ids"]` requires exactly one generated choice', "nvext.extra_fields"
        )


def _check_max_tokens(value: int | None, name: str, field: str) -> None:
    if value == 0:
        raise _broken(f"{name} must be greater than 0, got 0", field)
    if value is not None and value > _MAX_TOKENS:
        raise _broken(f"{name} must not exceed {_MAX_TOKENS}, got {value}", field)


def _check_n(n: int | None) -> None:
    if n is not None and not 1 <= n <= 128:
        raise _broken(f"n must be between 1 and 128, got {n}", "n")


def _check_best_of(best_of: int | None, n: int | None) -> None:
    if best_of is None:
        return
    if best_of > 20:
        raise _broken(f"Best_of must be between 0 and 20, got {best_of}", "best_of")
    if n is not None and best_of < n:
        raise _broken(f"Best_of must be greater than or equal to n, got best_of={best_of} and n={n}", "best_of")


def _check_stop(stop: str | list[str | int] | None) -> None:
    if stop is None:
        return
    if stop == "":
        raise _broken("Stop sequence cannot be empty", "stop")
    if isinstance(stop, str):
        return
    if not stop:
        raise _broken("Stop sequences array cannot be empty", "stop")
    if len(stop) > _MAX_STOPS:
        raise Refusal.invalid(f"Maximum of {_MAX_STOPS} stop sequences allowed, got {len(stop)}", param="stop")
    for index, entry in enumerate(stop):
        if entry == "":
            raise _broken(f"Stop sequence at index {index} cannot be empty", "stop")


def _check_token_lists(request: Request) -> None:
    if request.stop_token_ids is not None and not _are_token_ids(request.stop_token_ids):
        raise _broken("`stop_token_ids` must be an array of token IDs", "stop_token_ids")
    if request.detokenize is not None and not isinstance(request.detokenize, bool):
        raise _broken("`detokenize` must be a boolean", "detokenize")
    for field in ("allowed_token_ids", "logprob_token_ids"):
        value = getattr(request, field)
        if value is not None and not _are_token_ids(value):
            raise _broken(f"`{field}` must be an array of token IDs", field)
    words = request.bad_words_token_ids
    if words is not None and not (isinstance(words, list) and all(map(_are_token_ids, words))):
        raise _broken("`bad_words_token_ids` must be an array of token ID arrays", "bad_words_token_ids")


def _check_logit_bias(bias: dict[str, Any] | None) -> None:
    for key, value in (bias or {}).items():
        if not key.isascii() or not key.isdigit() or len(key) > 10 or int(key) > 4294967295:
            raise _broken("Logit bias key must be a non-negative 32-bit integer token id", "logit_bias")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _broken(
                f"Logit bias value for token '{key}' must be a number, got {_rust_value(value)}", "logit_bias"
            )
        if not -100 <= value <= 100:
            raise _broken(
                f"Logit bias for token '{key}' must be between -100 and 100, got {plain_text(value)}", "logit_bias"
            )


def _check_guided(request: Request) -> None:
    schema = request.guided_json
    if schema is None and isinstance(request, ChatRequest):
        schema = response_schema(request.response_format)
    given = [
        name
        for name, value in (
            ("json", schema),
            ("regex", request.guided_regex),
            ("choice", request.guided_choice or None),
            ("grammar", request.guided_grammar),
        )
        if value is not None
    ]
    if len(given) > 1:
        text = f"Only one guided-decoding constraint can be set; received: {', '.join(given)}"
        raise Refusal.invalid_argument(text)


def _are_token_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is int and 0 <= entry <= 4294967295 for entry in value)


def _rust_value(value: Any) -> str:
    """A JSON value as Rust's debug format shows it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return f"Bool({str(value).lower()})"
    if isinstance(value, str):
        return f'String("{value}")'
    if isinstance(value, list):
        return f"Array [{', '.join(map(_rust_value, value))}]"
    if isinstance(value, dict):
        return "Object {" + ", ".join(f'"{key}": {_rust_value(inner)}' for key, inner in value.items()) + "}"
    return f"Number({value})"


def _broken(rule: str, param: str) -> Refusal:
    return Refusal.invalid(f"Validation: {rule}", param=param)
