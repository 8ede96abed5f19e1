"""The request a token-in worker gets: Dynamo 1.6.1's preprocessed request, its keys in the order the original writes
them.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from dynamo_fe.protocol.tensor import Values


class Single(float):
    """A number that the wire holds in single precision: 0.7 goes out as 0x3f333333."""


class StopConditions(msgspec.Struct):
    """When the worker has to stop. Token counts; the ids are of the model's vocabulary."""

    max_tokens: int | None = None
    stop: list[str] | None = None
    stop_token_ids: Any = None
    stop_token_ids_visible: list[int] | None = None
    stop_token_ids_hidden: list[int] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    max_thinking_tokens: int | None = None


class SamplingOptions(msgspec.Struct):
    """How the worker picks tokens."""

    n: int | None = None
    best_of: int | None = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: int | None = None
    min_p: Any = None
    use_beam_search: bool | None = None
    length_penalty: Any = None
    seed: int | None = None
    include_stop_str_in_output: bool | None = None
    guided_decoding: dict[str, Any] | None = None


class OutputOptions(msgspec.Struct):
    """What comes with each token."""

    logprobs: int | None = None
    prompt_logprobs: int | None = None
    skip_special_tokens: bool | None = None
    formatted_prompt: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    no_stop_trim: bool | msgspec.UnsetType = msgspec.UNSET


class PictureRouting(msgspec.Struct):
    """The prompt as routers hash it: `routing_token_ids` fill whole blocks, `expanded_prompt_len` of them are it. The
    infos are empty: the tokens themselves name the pictures.
    """

    routing_token_ids: list[int]
    block_mm_infos: list[None]
    expanded_prompt_len: int


class WorkerRequest(msgspec.Struct, kw_only=True):
    """The whole body. `token_ids` is the prompt; UNSET members are left out, None ones are written as null."""

    model: str
    token_ids: list[int]
    prompt_embeds: str | msgspec.UnsetType = msgspec.UNSET
    multi_modal_data: dict[str, list[dict[str, str]]] | msgspec.UnsetType = msgspec.UNSET
    multi_modal_uuids: dict[str, list[str | None]] | msgspec.UnsetType = msgspec.UNSET
    mm_routing_info: PictureRouting | msgspec.UnsetType = msgspec.UNSET
    stop_conditions: StopConditions
    sampling_options: SamplingOptions
    output_options: OutputOptions
    eos_token_ids: list[int]
    mdc_sum: str | None
    annotations: list[str]
    routing: dict[str, Any]
    router_config_override: Any = None
    extra_args: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    require_reasoning: bool | msgspec.UnsetType = msgspec.UNSET
    router: Any = msgspec.UNSET
    agent_context: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    request_timestamp_ms: float | msgspec.UnsetType = msgspec.UNSET
    image_cache_scope: str | msgspec.UnsetType = msgspec.UNSET
    mm_processor_kwargs: Any = msgspec.UNSET
    media_io_kwargs: Any = msgspec.UNSET


class TextRequest(WorkerRequest, kw_only=True):
    """The request of a worker that takes no tokens (text, tensors): `fields` are all it is sent. The rest is empty."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, model: str, mdc_sum: str, fields: dict[str, Any]) -> TextRequest:
        """A request of these fields to the workers of a model."""
        return cls(
            model=model,
            token_ids=[],
            stop_conditions=StopConditions(),
            sampling_options=SamplingOptions(),
            output_options=OutputOptions(),
            eos_token_ids=[],
            mdc_sum=mdc_sum,
            annotations=[],
            routing={},
            fields=fields,
        )


def _msgpack_special(value: Any) -> Any:
    if isinstance(value, Single):
        return msgspec.Raw(b"\xca" + struct.pack(">f", value))
    if isinstance(value, Values):
        return value.of("msgpack")
    raise NotImplementedError(type(value))


def _json_special(value: Any) -> Any:
    if isinstance(value, Single):
        return float(value)
    if isinstance(value, Values):
        return value.of("json")
    raise NotImplementedError(type(value))


_MSGPACK: Final = msgspec.msgpack.Encoder(enc_hook=_msgpack_special)
_JSON: Final = msgspec.json.Encoder(enc_hook=_json_special)


def encode_request(request: WorkerRequest, codec: str) -> bytes:
    """The body in the codec (`msgpack` or `json`) that the instance registered."""
    body = request.fields if isinstance(request, TextRequest) else request
    return _MSGPACK.encode(body) if codec == "msgpack" else _JSON.encode(body)
