"""What deliver tells the endpoint, whatever the endpoint's own shapes are."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker import CompletionUsage, TopLogprob


class TokenLogprob(msgspec.Struct):
    """The logprob of one generated token; `top` as the worker sent it, None when it sent no list."""

    token_id: int
    logprob: float
    top: list[TopLogprob] | None


class Delta(msgspec.Struct):
    """One worker item of one choice. `completion_tokens` is the count over all choices so far."""

    index: int
    text: str
    finish_reason: str | None
    completion_tokens: int
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None


# Plain text of choice 0 is by far the most frequent delta and comes as a bare str: 60 ns instead of 250.
Piece: TypeAlias = str | Delta


class Usage(msgspec.Struct):
    """Token counts of a whole request, and the worker's own report if it sent one."""

    prompt_tokens: int
    completion_tokens: int
    finished: bool  # a finish reason came; an answer without one shows no usage
    reported: CompletionUsage | None


class DeltaSink(Protocol):
    """An endpoint's end of one worker request; called on the loop, from the socket's own callback."""

    def on_deltas(self, pieces: list[Piece]) -> None:
        """Everything one wake-up brought, in order."""

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        """Exactly once, last."""
