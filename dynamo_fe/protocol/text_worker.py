"""What a text-in worker (`model_input` Text) answers: OpenAI's own stream chunks (Dynamo 1.6.1).

Types are checked as strictly as the original checks them; unknown fields are dropped.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from dynamo_fe.protocol.worker import CompletionUsage

Index = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class FunctionPart(msgspec.Struct, omit_defaults=True):
    """A function's name, and a part of its arguments as text."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPart(msgspec.Struct, omit_defaults=True):
    """A part of the call number `index` of a message."""

    index: Index
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionPart | None = None


class ChatDelta(msgspec.Struct, omit_defaults=True):
    """What one chunk adds to a message."""

    content: str | list[dict[str, Any]] | None = None
    function_call: FunctionPart | None = None
    tool_calls: list[ToolCallPart] | None = None
    role: Literal["system", "user", "assistant", "tool", "function", "developer"] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: msgspec.UnsetType | str | None = msgspec.UNSET

    def __post_init__(self) -> None:
        """`reasoning` is another spelling of `reasoning_content`."""
        if isinstance(self.reasoning, str) and self.reasoning_content is None:
            self.reasoning_content = self.reasoning
        self.reasoning = msgspec.UNSET

    def is_empty(self) -> bool:
        """Whether there is nothing in it to show."""
        parts = (self.function_call, self.tool_calls, self.role, self.refusal, self.reasoning_content)
        return not self.content and all(part is None for part in parts)


class ChatLogprobs(msgspec.Struct):
    """Logprobs of the tokens of one chunk."""

    content: list[dict[str, Any]] | None = None
    refusal: list[dict[str, Any]] | None = None


class ChatChoice(msgspec.Struct):
    """One choice of a chat chunk."""

    index: Index
    delta: ChatDelta
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None
    logprobs: ChatLogprobs | None = None

    def is_empty(self) -> bool:
        """Whether there is nothing in it to show."""
        return self.delta.is_empty() and self.finish_reason is None and self.logprobs is None


class _Chunk(msgspec.Struct, kw_only=True):
    id: str
    created: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    model: str
    object: str
    system_fingerprint: str | None = None
    usage: CompletionUsage | None = None
    nvext: Any = None


class ChatChunk(_Chunk, kw_only=True):
    """`chat.completion.chunk`."""

    choices: list[ChatChoice]
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None


class CompletionLogprobs(msgspec.Struct):
    """Logprobs of the tokens of one chunk, one entry of each list a token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[Any]
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, omit_defaults=True):
    """One choice of a completion chunk."""

    text: str
    index: Index
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length", "content_filter"] | None = None

    def is_empty(self) -> bool:
        """Whether there is nothing in it to show."""
        return not self.text and self.finish_reason is None and self.logprobs is None


class CompletionChunk(_Chunk, kw_only=True):
    """`text_completion`."""

    choices: list[CompletionChoice]


TextChunk = ChatChunk | CompletionChunk


class _Envelope(msgspec.Struct, kw_only=True):
    id: str | None = None
    event: str | None = None
    comment: list[str] | None = None
    error: Any = None


class ChatEnvelope(_Envelope, kw_only=True):
    """A worker's frame with a chunk of chat in it."""

    data: ChatChunk | None = None


class CompletionEnvelope(_Envelope, kw_only=True):
    """A worker's frame with a chunk of a completion in it."""

    data: CompletionChunk | None = None


_DECODERS: Final[dict[tuple[str, bool], Any]] = {
    ("msgpack", True): msgspec.msgpack.Decoder(ChatEnvelope),
    ("msgpack", False): msgspec.msgpack.Decoder(CompletionEnvelope),
    ("json", True): msgspec.json.Decoder(ChatEnvelope),
    ("json", False): msgspec.json.Decoder(CompletionEnvelope),
}


def read_envelope(raw: bytes, codec: str, chat: bool) -> ChatEnvelope | CompletionEnvelope:
    """A frame and the chunk in it, in one go. Raises ``msgspec.ValidationError`` also for an error that comes with
    data that are no chunk.
    """
    envelope: ChatEnvelope | CompletionEnvelope = _DECODERS[codec, chat].decode(raw)
    return envelope


def read_chunk(data: Any, chat: bool) -> TextChunk:
    """The chunk from the decoded `data` of a worker's frame. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(data, ChatChunk) if chat else msgspec.convert(data, CompletionChunk)
