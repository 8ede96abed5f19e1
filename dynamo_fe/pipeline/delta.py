"""What deliver tells the endpoint, whatever the endpoint's own shapes are."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec

from dynamo_fe.parsers.events import Arguments, CallEnd, CallStart, Content, Event, Thought
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.tensor import TensorAnswer
from dynamo_fe.protocol.text_worker import TextChunk
from dynamo_fe.protocol.worker import CompletionUsage, TopLogprob

__all__ = [
    "Arguments",
    "CallEnd",
    "CallStart",
    "Content",
    "Delta",
    "DeltaSink",
    "Event",
    "Piece",
    "TextDelta",
    "Thought",
    "TokenLogprob",
    "Usage",
]


class TokenLogprob(msgspec.Struct):
    """The logprob of one generated token, None when the worker sent too few; `top` as the worker sent it, None when it
    sent no list. `dropped`: the token ended the text and does not stand in it.
    """

    token_id: int
    logprob: float | None
    top: list[TopLogprob] | None
    dropped: bool = False


class Usage(msgspec.Struct):
    """Token counts of a whole request, and the worker's own report if it sent one. `reasoning_tokens` is None for a
    model without a reasoning parser.
    """

    prompt_tokens: int
    completion_tokens: int
    finished: bool  # a finish reason came; an answer without one shows no usage
    reported: CompletionUsage | None
    reasoning_tokens: int | None = None


class Delta(msgspec.Struct):
    """One worker item of one choice. `completion_tokens` is the count over all choices so far. `events` is what a
    parser made of the text, which is empty then; None where nothing is parsed.
    """

    index: int
    text: str
    finish_reason: str | None
    completion_tokens: int
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None
    verbatim: bool = False  # the text is the worker's own, and shown even when it is empty
    stop_reason: str | int | None = None
    engine_data: Any = None
    usage: Usage | None = None  # the counts so far, where every chunk is to show them
    events: list[Event] | None = None


class TextDelta(Delta, kw_only=True):
    """A chunk that a text-in worker made itself; all else is empty."""

    chunk: TextChunk


class TensorDelta(Delta, kw_only=True):
    """An answer of a tensor worker, or the `fault` of an item that could not be read; all else is empty."""

    answer: TensorAnswer | None = None
    fault: str | None = None


# Plain text of choice 0 is by far the most frequent delta and comes as a bare str: 60 ns instead of 250. What a parser
# makes of text of choice 0 comes bare as well.
Piece: TypeAlias = str | Event | Delta


class DeltaSink(Protocol):
    """An endpoint's end of one worker request; called on the loop, from the socket's own callback."""

    def on_deltas(self, pieces: list[Piece]) -> None:
        """Everything one wake-up brought, in order."""

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        """Exactly once, last."""
