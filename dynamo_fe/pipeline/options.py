"""Sampling, stop and output options: from the fields of a request to the members of the worker's request."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest, NvExt
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, Single, StopConditions

_NO_NVEXT: Final = NvExt()
_PASSED_ON: Final = ("allowed_token_ids", "bad_words_token_ids", "logprob_token_ids", "detokenize", "logit_bias")


def stop_conditions(request: ChatRequest | CompletionRequest, eos_token_ids: list[int]) -> StopConditions:
    """`ignore_eos` also drops the eos ids and the client's own stops; token ids in `stop` win over
    `stop_token_ids`.
    """
    nvext = request.nvext or _NO_NVEXT
    strings, ids = _stops(request.stop)
    max_tokens = request.max_tokens
    thinking = nvext.max_thinking_tokens
    if isinstance(request, ChatRequest):
        if request.max_completion_tokens is not None:
            max_tokens = request.max_completion_tokens
        if request.thinking_token_budget is not None:
            thinking = request.thinking_token_budget
    ignore = bool(request.ignore_eos)
    return StopConditions(
        max_tokens=max_tokens,
        stop=None if ignore else strings,
        stop_token_ids=None if ignore else ids or request.stop_token_ids,
        stop_token_ids_hidden=None if ignore else eos_token_ids,
        min_tokens=request.min_tokens,
        ignore_eos=request.ignore_eos,
        max_thinking_tokens=thinking,
    )


def sampling_options(request: ChatRequest | CompletionRequest) -> SamplingOptions:
    """Numbers go out in single precision, as the original sends them; `top_k` 0 means all, written -1."""
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
        guided_decoding=_guided_decoding(request),
    )


def output_options(request: ChatRequest | CompletionRequest) -> OutputOptions:
    """What the worker is to send with each token; `echo` asks for the prompt's logprobs as the original does."""
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
        skip_special_tokens=request.skip_special_tokens,
        return_tokens_as_token_ids=request.return_tokens_as_token_ids,
        no_stop_trim=no_stop_trim,
    )


def cache_salt(request: ChatRequest | CompletionRequest) -> str | None:
    """The salt of the prefix cache; an empty one counts as none."""
    nvext = request.nvext or _NO_NVEXT
    return nvext.cache_salt or request.cache_salt or None


def routing(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """`routing`: pins and hints, only those given."""
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


def _stops(stop: str | list[str | int] | None) -> tuple[list[str] | None, list[int] | None]:
    if stop is None:
        return None, None
    if isinstance(stop, str):
        return [stop], None
    strings = [entry for entry in stop if isinstance(entry, str)]
    ids = [entry for entry in stop if isinstance(entry, int)]
    return strings or None, ids or None


def _guided_decoding(request: ChatRequest | CompletionRequest) -> dict[str, Any] | None:
    called = _called_schema(request) if isinstance(request, ChatRequest) else None
    schema = request.guided_json
    if schema is None and isinstance(request, ChatRequest):
        schema = response_schema(request.response_format)
    constraint = {
        "json": schema if called is None else called,
        "regex": request.guided_regex,
        "choice": request.guided_choice,
        "grammar": request.guided_grammar,
    }
    found = {key: value for key, value in constraint.items() if value is not None}
    if not found or found == {"choice": []}:
        return None
    if request.guided_decoding_backend is not None:
        found["backend"] = request.guided_decoding_backend
    if request.guided_whitespace_pattern is not None:
        found["whitespace_pattern"] = request.guided_whitespace_pattern
    return found


def must_call(request: ChatRequest) -> bool:
    """Whether the answer has to be a call of a tool."""
    return request.tool_choice == "required" or isinstance(request.tool_choice, dict)


def _called_schema(request: ChatRequest) -> Any:
    """What the answer has to be when it has to be a call: the arguments of the named tool, or a list of calls.

    Raises Refusal beside a constraint of the client's own, as the original does.
    """
    if not must_call(request):
        return None
    own = (request.guided_json, request.guided_regex, request.guided_choice, request.guided_grammar)
    if any(value is not None for value in own):
        raise Refusal.invalid("Invalid request", param="tool_choice")
    functions = [tool["function"] for tool in request.tools or ()]
    if isinstance(request.tool_choice, dict):
        name = request.tool_choice["function"]["name"]
        return next(_parameters(function) for function in functions if function["name"] == name)
    calls = [
        {
            "properties": {
                "name": {"type": "string", "enum": [function["name"]]},
                "parameters": _parameters(function),
            },
            "required": ["name", "parameters"],
        }
        for function in functions
    ]
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "object", "anyOf": calls}}
    return schema | {"maxItems": 1} if request.parallel_tool_calls is False else schema


def _parameters(function: dict[str, Any]) -> Any:
    parameters = function.get("parameters")
    return {"type": "object", "properties": {}} if parameters is None else parameters


def response_schema(response_format: dict[str, Any] | None) -> Any:
    """The JSON schema that a `response_format` asks for, None for free text."""
    kind = (response_format or {}).get("type")
    if kind == "json_object":
        return {"type": "object"}
    if kind == "json_schema" and response_format is not None:
        return (response_format.get("json_schema") or {}).get("schema")
    return None


def _single(value: float | None) -> Single | None:
    return None if value is None else Single(value)
