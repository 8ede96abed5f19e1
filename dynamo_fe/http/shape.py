"""What tells one endpoint's answers from another's: chunks for streams, a body for the rest."""

from __future__ import annotations

from typing import Any, Protocol

from dynamo_fe.pipeline.delta import Delta, Piece, Usage
from dynamo_fe.pipeline.prepare import Prepared


class Chunks(Protocol):
    """Turns the pieces of one worker request into SSE frames."""

    def frames(self, pieces: list[Piece]) -> bytes:
        """The frames of one wake-up; empty bytes when nothing is to be shown."""

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """The last chunk of a stream whose client asked for the usage."""


class Answer(Protocol):
    """Collects the pieces of one worker request of an answer in one body."""

    def add(self, pieces: list[Piece]) -> None:
        """Takes the pieces of one wake-up."""

    def choices(self) -> list[dict[str, Any]]:
        """The `choices` of the answer, by index."""


class Reply(Protocol):
    """All shapes of one HTTP answer. `index` is the number of a worker request among those of the answer."""

    def chunks(self, index: int, prepared: Prepared) -> Chunks:
        """For the stream of one worker request."""

    def closing(self) -> Chunks:
        """For the chunk with the usage of the whole answer."""

    def answer(self, index: int, prepared: Prepared) -> Answer:
        """Collects one worker request."""

    def body(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The folded answer; no usage when no choice came to an end."""


def counts(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The counts of a usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def usage_of(usage: Usage, keep_null_details: bool) -> dict[str, Any]:
    """The usage object: our count of generated tokens, the worker's details. Completions keep null details, chat
    drops them.
    """
    out = counts(usage.prompt_tokens, usage.completion_tokens)
    if usage.reported is not None:
        for name in ("prompt_tokens_details", "completion_tokens_details"):
            details = getattr(usage.reported, name)
            if details is not None:
                members = {field: getattr(details, field) for field in details.__struct_fields__}
                out[name] = {key: value for key, value in members.items() if keep_null_details or value is not None}
    if usage.reasoning_tokens is not None:
        out.setdefault("completion_tokens_details", {})["reasoning_tokens"] = usage.reasoning_tokens
    return out


def whole(piece: Piece) -> Delta:
    """The piece as a Delta; what comes bare is choice 0's."""
    if isinstance(piece, Delta):
        return piece
    if isinstance(piece, str):
        return Delta(0, piece, None, 0, [])
    return Delta(0, "", None, 0, [], events=[piece])
