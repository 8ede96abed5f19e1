"""Saying an answer step by step: siblings with the same verbs, which know no clock and no socket."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from dynamo_fe.workers.faults import FaultKind, injected_error
from dynamo_fe.workers.generator import Answer


class Usage(msgspec.Struct, frozen=True):
    """Token counts so far; `cached_tokens` of the prompt came out of the prefix cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class Sink(Protocol):
    """Where a request's stream goes. What is sent may be collected until `flush`."""

    @property
    def paused(self) -> bool:
        """The reader is slow: nothing should be sent now."""

    def begin(self) -> None:
        """The request has its turn: call back."""

    def send_item(
        self, token_ids: list[int], finish_reason: str | None, index: int | None, usage: Usage | None
    ) -> None:
        """One item of a token-in model."""

    def send_value(self, value: Any) -> None:
        """Anything in the place of an item."""

    def send_error(self, error: dict[str, Any]) -> None:
        """An error item."""

    def send_garbage(self) -> None:
        """A frame that cannot be decoded."""

    def flush(self) -> None:
        """Send what was collected."""

    def finish(self) -> None:
        """The orderly end."""

    def break_off(self) -> None:
        """Close at once, without an end."""


class Progress(enum.Enum):
    """What follows an `advance`."""

    GOING = enum.auto()
    FINISHED = enum.auto()
    BROKEN = enum.auto()


class Playback(Protocol):
    """An answer that is being said."""

    def begin(self, cached_tokens: int) -> None:
        """Its turn has come; so many tokens of the prompt were in the cache."""

    def advance(self, steps: int, now: float, sink: Sink) -> Progress:
        """Say what `steps` decode steps bring. `now` is in seconds of the engine's clock."""

    def take_tokens(self) -> Sequence[int]:
        """What was said since the last call, of the first choice; a script has no tokens that count."""

    def halfway_steps(self) -> int:
        """Steps until about half of it is said, at least 1."""


class AnswerPlayback:
    """The choices of an answer side by side, `tokens_per_item` tokens in each item and one step for each token.

    As the real mock engine does, the first item carries a usage and the finish reason comes in an item without tokens.
    """

    def __init__(self, answers: list[Answer], prompt_tokens: int, tokens_per_item: int) -> None:
        self._answers = answers
        self._indexes = [None] if len(answers) == 1 else list(range(len(answers)))
        self._prompt_tokens = prompt_tokens
        self._tokens_per_item = tokens_per_item
        self._said = 0  # tokens of each choice that has as many
        self._taken = 0
        self._credit = 0  # steps taken but not yet said
        self._completion_tokens = 0
        self._longest = max(len(answer.tokens) for answer in answers)
        self._cached_tokens = 0

    def begin(self, cached_tokens: int) -> None:
        self._cached_tokens = cached_tokens

    def take_tokens(self) -> Sequence[int]:
        start, self._taken = self._taken, self._said
        return self._answers[0].tokens[start : self._said]

    def halfway_steps(self) -> int:
        return max(self._longest // 2, 1)

    def advance(self, steps: int, now: float, sink: Sink) -> Progress:
        self._credit += steps
        while self._said < self._longest:
            size = min(self._tokens_per_item, self._longest - self._said)
            if self._credit < size:
                return Progress.GOING
            self._credit -= size
            self._say(size, sink)
        return Progress.FINISHED

    def _say(self, size: int, sink: Sink) -> None:
        start, end = self._said, self._said + size
        for answer, index in zip(self._answers, self._indexes, strict=True):
            tokens = answer.tokens[start:end]
            if not tokens:
                continue
            self._completion_tokens += len(tokens)
            sink.send_item(tokens, None, index, self._usage() if start == 0 else None)
            if end >= len(answer.tokens):
                sink.send_item([], answer.finish_reason, index, self._usage())
        self._said = end

    def _usage(self) -> Usage:
        return Usage(self._prompt_tokens, self._completion_tokens, self._cached_tokens)


class ScriptPlayback:
    """Entries from a file, one a step.

    An entry is an item as it is, `{"!error": ERROR OBJECT}` or `{"!sleep": SECONDS}`.
    """

    def __init__(self, script: list[Any]) -> None:
        self._script = script
        self._next = 0
        self._resume_at = float("-inf")

    def begin(self, cached_tokens: int) -> None:
        """A script says what it says."""

    def take_tokens(self) -> Sequence[int]:
        return ()

    def halfway_steps(self) -> int:
        return max(len(self._script) // 2, 1)

    def advance(self, steps: int, now: float, sink: Sink) -> Progress:
        while steps > 0 and self._next < len(self._script) and now >= self._resume_at:
            entry = self._script[self._next]
            self._next += 1
            steps -= 1
            if isinstance(entry, dict) and "!sleep" in entry:
                self._resume_at = now + entry["!sleep"]
            elif isinstance(entry, dict) and "!error" in entry:
                sink.send_error(entry["!error"])
            else:
                sink.send_value(entry)
        over = self._next == len(self._script) and now >= self._resume_at
        return Progress.FINISHED if over else Progress.GOING


class FaultyPlayback:
    """Another playback until a fault comes in. `stall_secs` 0: a stall never ends."""

    def __init__(self, inner: Playback, kind: FaultKind, stall_secs: float) -> None:
        self._inner = inner
        self._kind = kind
        self._stall_secs = stall_secs
        self._steps_before = 0 if kind is FaultKind.ERROR_FIRST else inner.halfway_steps()
        self._resume_at: float | None = None

    def begin(self, cached_tokens: int) -> None:
        self._inner.begin(cached_tokens)

    def take_tokens(self) -> Sequence[int]:
        return self._inner.take_tokens()

    def halfway_steps(self) -> int:
        return self._inner.halfway_steps()

    def advance(self, steps: int, now: float, sink: Sink) -> Progress:
        if self._steps_before > 0:
            taken = min(steps, self._steps_before)
            self._steps_before -= taken
            progress = self._inner.advance(taken, now, sink)
            if self._steps_before > 0 or progress is not Progress.GOING:
                return progress
        if self._kind is FaultKind.STALL:
            return self._stall(steps, now, sink)
        return self._strike(sink)

    def _strike(self, sink: Sink) -> Progress:
        if self._kind is FaultKind.DISCONNECT:
            sink.flush()
            sink.break_off()
            return Progress.BROKEN
        if self._kind is FaultKind.GARBAGE:
            sink.send_garbage()
            sink.flush()
            return Progress.BROKEN
        sink.send_error(injected_error())
        return Progress.FINISHED

    def _stall(self, steps: int, now: float, sink: Sink) -> Progress:
        if self._resume_at is None:
            self._resume_at = now + (self._stall_secs or float("inf"))
        return self._inner.advance(steps, now, sink) if now >= self._resume_at else Progress.GOING
