"""What a token-in worker answers: the envelope of one stream frame and the item in it (Dynamo 1.6.1).

Decoding is strict about types (a wrong one raises ``msgspec.ValidationError``) and indifferent to unknown fields.
"""

from __future__ import annotations

from typing import Annotated as _With
from typing import Any, Final, Literal

import msgspec

Codec = Literal["msgpack", "json"]
U32 = _With[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]


class FinishError(msgspec.Struct):
    """``finish_reason: {"error": text}``: the engine failed; the text is for operators."""

    error: str


# "tool_calls" is not among them: that one is the frontend's to set
FinishReason = Literal["stop", "length", "eos", "cancelled", "content_filter", "abort", "error"] | FinishError


class PromptTokensDetails(msgspec.Struct):
    audio_tokens: U32 | None = None
    cached_tokens: U32 | None = None


class CompletionTokensDetails(msgspec.Struct):
    accepted_prediction_tokens: U32 | None = None
    audio_tokens: U32 | None = None
    reasoning_tokens: U32 | None = None
    rejected_prediction_tokens: U32 | None = None


class CompletionUsage(msgspec.Struct):
    """OpenAI's usage object, as the worker counted."""

    prompt_tokens: U32
    completion_tokens: U32
    total_tokens: U32
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class TopLogprob(msgspec.Struct):
    """One alternative for a position; ``bytes`` is the token's UTF-8, a byte per number."""

    token_id: U32
    logprob: float
    rank: int | None = None
    token: str | None = None
    bytes: list[int] | None = None


class WorkerItem(msgspec.Struct):
    """One step of one choice. ``text`` that is not None replaces the decoding of ``token_ids``."""

    token_ids: list[U32]
    tokens: list[str | None] | None = None
    text: str | None = None
    output_type: str | None = None
    content_parts: Any = None
    cum_log_probs: float | None = None
    log_probs: list[float] | None = None
    top_logprobs: list[list[TopLogprob]] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    index: U32 | None = None
    disaggregated_params: Any = None
    encoder_result: Any = None
    worker_trace_link: Any = None
    extra_args: Any = None
    routing_data: Any = None
    jailed_text: Any = None
    completion_usage: CompletionUsage | None = None
    engine_data: Any = None


class Annotated(msgspec.Struct):
    """The envelope of one frame. ``event == "error"`` marks an error item, whose object is ``error`` (if any)."""

    data: WorkerItem | None = None
    id: str | None = None
    event: str | None = None
    comment: list[str] | None = None
    error: Any = None


class AnnotatedValue(msgspec.Struct):
    """The same envelope around a value that is no :class:`WorkerItem` (embeddings, OpenAI chunks of a text worker)."""

    data: Any = None
    id: str | None = None
    event: str | None = None
    comment: list[str] | None = None
    error: Any = None


_ENVELOPE_MSGPACK: Final = msgspec.msgpack.Decoder(Annotated)
_ENVELOPE_JSON: Final = msgspec.json.Decoder(Annotated)
_VALUE_MSGPACK: Final = msgspec.msgpack.Decoder(AnnotatedValue)
_VALUE_JSON: Final = msgspec.json.Decoder(AnnotatedValue)
_USAGE: Final = msgspec.msgpack.Decoder(CompletionUsage)


def decode_envelope(raw: bytes, codec: Codec) -> Annotated:
    """Decode the envelope of a token-in worker.

    Raises ``msgspec.DecodeError`` if it is malformed, ``msgspec.ValidationError`` (one of them) if a type is wrong or
    ``token_ids`` is missing.
    """
    return _ENVELOPE_MSGPACK.decode(raw) if codec == "msgpack" else _ENVELOPE_JSON.decode(raw)


def decode_value_envelope(raw: bytes, codec: Codec) -> AnnotatedValue:
    """Decode an envelope whose ``data`` may be anything. Raises ``msgspec.DecodeError`` if it is malformed."""
    return _VALUE_MSGPACK.decode(raw) if codec == "msgpack" else _VALUE_JSON.decode(raw)


def decode_usage(raw: bytes) -> CompletionUsage:
    """Decode the ``usage`` bytes of an ``OutputItem`` (always msgpack). Raises ``msgspec.DecodeError``."""
    return _USAGE.decode(raw)
