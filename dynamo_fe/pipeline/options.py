"""Sampling, stop and output options: from the fields of a request to the members of the worker's request."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest, NvExt
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, Single, StopConditions

_NO_NVEXT: Final = NvExt()
_PASSED_ON: Final = ("allowed_token_ids", "bad_words_token_ids", "logprob_token_ids", "detokenize", "logit_bias")


def stop_conditions(request: ChatRequest | CompletionRequest, eos_token_ids: list[int]) -> StopConditions:
    """`ignore_eos` also drops the eos ids and the client's own stops; token ids in `stop` win over
    `stop_token_ids`.
    """
    if request.everyday:
        return StopConditions(max_tokens=_most_tokens(request), stop_token_ids_hidden=eos_token_ids)
    nvext = request.nvext or _NO_NVEXT
    strings, ids = _stops(request.stop)
    thinking = nvext.max_thinking_tokens
    if isinstance(request, ChatRequest) and request.thinking_token_budget is not None:
        thinking = request.thinking_token_budget
    ignore = bool(request.ignore_eos)
    return StopConditions(
        max_tokens=_most_tokens(request),
        stop=None if ignore else strings,
        stop_token_ids=None if ignore else ids or request.stop_token_ids,
        stop_token_ids_hidden=None if ignore else eos_token_ids,
        min_tokens=request.min_tokens,
        ignore_eos=request.ignore_eos,
        max_thinking_tokens=thinking,
    )


def sampling_options(
    request: ChatRequest | CompletionRequest, guided_decoding: dict[str, Any] | None
) -> SamplingOptions:
    """Numbers go out in single precision, as the original sends them; `top_k` 0 means all, written -1."""
    if request.everyday:
        return SamplingOptions(
            temperature=_single(request.temperature), top_p=_single(request.top_p), seed=request.seed
        )
    greedy = request.nvext is not None and request.nvext.greed_sampling is True
    return SamplingOptions(
        n=request.n,
        best_of=request.best_of if isinstance(request, CompletionRequest) else None,
        presence_penalty=_single(request.presence_penalty),
        frequency_penalty=_single(request.frequency_penalty),
        repetition_penalty=_single(request.repetition_penalty),
        temperature=None if greedy else _single(request.temperature),
        top_p=None if greedy else _single(request.top_p),
        top_k=-1 if request.top_k == 0 else request.top_k,
        min_p=_single(request.min_p),
        seed=request.seed,
        include_stop_str_in_output=request.include_stop_str_in_output,
        guided_decoding=guided_decoding,
    )


def output_options(request: ChatRequest | CompletionRequest, markers_matter: bool) -> OutputOptions:
    """What the worker is to send with each token; `echo` asks for the prompt's logprobs as the original does.
    `markers_matter`: special tokens are looked for in the text, so they stay in it unless the client says otherwise.
    """
    if request.everyday:
        return OutputOptions(skip_special_tokens=False if markers_matter else None)
    no_stop_trim: bool | UnsetType = UNSET
    prompt_logprobs = request.prompt_logprobs
    if isinstance(request, ChatRequest):
        top = 1 if request.top_logprobs is None else request.top_logprobs
        logprobs = top if request.logprobs is True else None
    else:
        logprobs = request.logprobs
        if request.echo:
            prompt_logprobs = 1
        if request.no_stop_trim is not None:
            no_stop_trim = request.no_stop_trim
    return OutputOptions(
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        skip_special_tokens=False
        if markers_matter and request.skip_special_tokens is None
        else request.skip_special_tokens,
        return_tokens_as_token_ids=request.return_tokens_as_token_ids,
        no_stop_trim=no_stop_trim,
    )


def cache_salt(request: ChatRequest | CompletionRequest) -> str | None:
    """The salt of the prefix cache; an empty one counts as none."""
    nvext = request.nvext or _NO_NVEXT
    return nvext.cache_salt or request.cache_salt or None


def routing(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """`routing`: pins and hints, only those given."""
    if request.everyday:
        return {}
    nvext = request.nvext or _NO_NVEXT
    found: dict[str, Any] = {
        "backend_instance_id": nvext.backend_instance_id,
        "prefill_worker_id": nvext.prefill_worker_id,
        "decode_worker_id": nvext.decode_worker_id,
        "dp_rank": nvext.dp_rank,
        "prefill_dp_rank": nvext.prefill_dp_rank,
        "cache_salt": cache_salt(request),
    }
    hints = nvext.agent_hints
    if hints is not None:
        found["expected_output_tokens"] = hints.osl
        if hints.priority is not None:
            found["priority_jump"] = float(max(hints.priority, 0))
        elif hints.latency_sensitivity is not None:
            found["priority_jump"] = hints.latency_sensitivity
        found["strict_priority"] = hints.strict_priority
        found["priority"] = hints.priority
    constraints = nvext.routing_constraints
    if constraints is not None:
        named = {name: getattr(constraints, name) for name in constraints.__struct_fields__}
        found["routing_constraints"] = {name: value for name, value in named.items() if value}
    return {key: value for key, value in found.items() if value is not None}


def extra_args(request: ChatRequest | CompletionRequest, token_in: bool) -> dict[str, Any] | UnsetType:
    """`extra_args`: what has no place of its own in the worker's request."""
    if request.everyday and not token_in:
        return UNSET
    nvext = request.nvext or _NO_NVEXT
    ours: dict[str, Any] = {}
    salt = cache_salt(request)
    if salt is not None:
        ours["cache_salt"] = salt
    if nvext.extra_fields is not None:
        ours["extra_fields"] = nvext.extra_fields
    if token_in:
        ours["token_in"] = True
    if nvext.metadata_upload is not None:
        ours["metadata_upload"] = {"url": nvext.metadata_upload.url}
    passed = {name: value for name in _PASSED_ON if (value := getattr(request, name)) is not None}
    if not request.logit_bias:
        passed.pop("logit_bias", None)
    found = {key: value for key, value in (("nvext", ours), ("sampling_options", passed)) if value}
    return found or UNSET


def _most_tokens(request: ChatRequest | CompletionRequest) -> int | None:
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        return request.max_completion_tokens
    return request.max_tokens


def _stops(stop: str | list[str | int] | None) -> tuple[list[str] | None, list[int] | None]:
    if stop is None:
        return None, None
    if isinstance(stop, str):
        return [stop], None
    strings = [entry for entry in stop if isinstance(entry, str)]
    ids = [entry for entry in stop if isinstance(entry, int)]
    return strings or None, ids or None


def _single(value: float | None) -> Single | None:
    return None if value is None else Single(value)
