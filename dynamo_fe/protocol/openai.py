"""Requests of the OpenAI-compatible routes, as Dynamo 1.6.1 reads them.

Only types are checked here (msgspec); ranges and combinations are `dynamo_fe.http.validation`'s. A field that is
absent and one that is null mean the same. Fields that only other servers know are not listed and so end as
"Unsupported parameter(s)".
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

U8 = Annotated[int, Meta(ge=0, le=255)]
U32 = Annotated[int, Meta(ge=0, le=4294967295)]
I32 = Annotated[int, Meta(ge=-2147483648, le=2147483647)]
I64 = Annotated[int, Meta(ge=-9223372036854775808, le=9223372036854775807)]
U64 = Annotated[int, Meta(ge=0)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]


class StreamOptions(msgspec.Struct):
    """`stream_options`: `include_usage` asks for a last chunk with the usage, `continuous_usage_stats` for it in
    every chunk.
    """

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class AgentHints(msgspec.Struct, forbid_unknown_fields=True):
    """`nvext.agent_hints`: what the caller knows of its own request."""

    priority: I32 | None = None
    strict_priority: U32 | None = None
    osl: U32 | None = None
    speculative_prefill: bool | None = None
    latency_sensitivity: float | None = None


class RoutingConstraints(msgspec.Struct, forbid_unknown_fields=True):
    """`nvext.routing_constraints`: taints a worker must or should carry."""

    required_taints: list[str] | None = None
    preferred_taints: dict[str, float] | None = None


class RouterTargets(msgspec.Struct, forbid_unknown_fields=True):
    """`nvext.router`: latency targets, in the unit of the planner that reads them."""

    ttft_target: float | None = None
    itl_target: float | None = None


class MetadataUpload(msgspec.Struct, forbid_unknown_fields=True):
    """`nvext.metadata_upload`."""

    url: str


class NvExt(msgspec.Struct, forbid_unknown_fields=True):
    """`nvext`: Dynamo's own extension of the request."""

    greed_sampling: bool | None = None
    use_raw_prompt: bool | None = None
    annotations: list[str] | None = None
    backend_instance_id: U64 | None = None
    token_data: list[U32] | None = None
    max_thinking_tokens: U32 | None = None
    cache_salt: str | None = None
    extra_fields: list[str] | None = None
    metadata_upload: MetadataUpload | None = None
    prefill_worker_id: U64 | None = None
    decode_worker_id: U64 | None = None
    dp_rank: U32 | None = None
    prefill_dp_rank: U32 | None = None
    agent_hints: AgentHints | None = None
    request_timestamp_ms: float | None = None
    routing_constraints: RoutingConstraints | None = None
    router: RouterTargets | None = None


# fields of a request that no client gives
OWN_FIELDS: Final = frozenset(("unsupported", "everyday"))


class GenerationRequest(msgspec.Struct, kw_only=True):
    """What chat and completions requests have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: U32 | None = None
    min_tokens: U32 | None = None
    ignore_eos: bool | None = None
    stop: str | list[str | int] | None = None
    stop_token_ids: Any = None
    include_stop_str_in_output: bool | None = None
    n: U8 | None = None
    seed: I64 | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: I32 | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    prompt_logprobs: U32 | None = None
    skip_special_tokens: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    allowed_token_ids: Any = None
    bad_words_token_ids: Any = None
    logprob_token_ids: Any = None
    detokenize: Any = None
    cache_salt: Any = None
    guided_json: Any = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    guided_decoding_backend: str | None = None
    nvext: NvExt | None = None
    user: str | None = None
    metadata: Any = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    # OWN_FIELDS, under names that no API has: the keys that are no field, in their order; and whether there is nothing
    # beyond the model, the messages and what most requests say (http.parse), so that all else need not be looked at.
    # That spares a short request a tenth of its time.
    unsupported: list[str] = msgspec.field(name="(unsupported)", default_factory=list)
    everyday: bool = msgspec.field(name="(everyday)", default=False)


class ChatRequest(GenerationRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]]
    max_completion_tokens: U32 | None = None
    logprobs: bool | None = None
    top_logprobs: U8 | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    thinking: Any = None
    thinking_token_budget: U32 | None = None
    chat_template_args: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: Any = None
    media_io_kwargs: Any = None
    function_call: Any = None
    functions: Any = None
    store: bool | None = None
    service_tier: Tier | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    prediction: Any = None
    audio: Any = None
    web_search_options: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    verbosity: Any = None


class CompletionRequest(GenerationRequest, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[str | int | list[int]] | msgspec.UnsetType = msgspec.UNSET
    prompt_embeds: str | None = None
    best_of: U8 | None = None
    logprobs: U8 | None = None
    echo: bool | None = None
    no_stop_trim: bool | None = None
    suffix: str | None = None
    safety_identifier: Any = None
    prompt_cache_retention: Any = None
