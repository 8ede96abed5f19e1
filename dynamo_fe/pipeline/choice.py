"""One choice of an answer: its text, its stops, its count of tokens. Sans I/O."""

from __future__ import annotations

from typing import Final

from dynamo_fe.models.decoder import TokenDecoder
from dynamo_fe.pipeline.stops import StopMatcher
from dynamo_fe.protocol.worker_request import WorkerRequest

# a worker's words for an end, as OpenAI names them
FINISH_REASONS: Final = {
    "stop": "stop",
    "eos": "stop",
    "cancelled": "stop",
    "abort": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class StopRules:
    """When we end a choice ourselves; shared by the choices of a request."""

    __slots__ = ("hidden", "include", "keep_stop", "min_tokens", "strings")

    def __init__(self, body: WorkerRequest) -> None:
        stop = body.stop_conditions
        ids = stop.stop_token_ids if isinstance(stop.stop_token_ids, list) else []
        self.hidden = frozenset([*(stop.stop_token_ids_hidden or ()), *ids])
        self.keep_stop = body.output_options.no_stop_trim is True
        self.include = body.sampling_options.include_stop_str_in_output is True or self.keep_stop
        self.min_tokens = stop.min_tokens or 0
        self.strings = stop.stop or []


class Choice:
    """The state of one choice. `ended`: nothing more is to be shown; `finished`: an end with a reason was seen."""

    __slots__ = ("_decoder", "_matcher", "_rules", "ended", "finished", "hidden", "push", "started", "tokens")

    def __init__(self, decoder: TokenDecoder, rules: StopRules) -> None:
        self._decoder = decoder
        self._rules = rules
        self._matcher = StopMatcher(rules.strings, rules.include) if rules.strings else None
        self.push = decoder.push
        self.hidden = rules.hidden
        self.tokens = 0
        self.started = False
        self.finished = False
        self.ended = False

    @property
    def plain(self) -> bool:
        """Whether text needs no matching, so that `push` alone makes it."""
        return self._matcher is None

    def take(self, token_ids: list[int], finish: str | None) -> tuple[str, str | None, int]:
        """Takes one item; returns the text to show, the finish reason as OpenAI names it, and the tokens taken.

        A stop found here wins over the worker's own finish reason and ends the choice.
        """
        taken, stopped = self._until_hidden_stop(token_ids)
        shown = token_ids[:taken]
        self.tokens += taken
        text = self._decoder.push(shown[:-1] if stopped and not self._rules.keep_stop else shown)
        if stopped or finish is not None:
            text += self._decoder.flush()
        matcher = self._matcher
        if matcher is not None and self.tokens >= self._rules.min_tokens:
            text, hit = matcher.push(text)
            stopped = stopped or hit
            if not hit and (stopped or finish is not None):
                text += matcher.flush()
        if stopped:
            self.ended = True
            finish = "stop"
        return text, self.finish(finish), taken

    def finish(self, finish: str | None) -> str | None:
        """Notes a finish reason of the worker, if there is one; returns it as OpenAI names it."""
        if finish is None:
            return None
        self.finished = True
        return FINISH_REASONS[finish]

    def rest(self) -> str:
        """Text withheld when the stream ended without a finish reason."""
        text = self._decoder.flush()
        if self._matcher is not None:
            text = self._matcher.push(text)[0] + self._matcher.flush()
        return text

    def _until_hidden_stop(self, token_ids: list[int]) -> tuple[int, bool]:
        """How many ids count, and whether the last of them is a stop that is not shown."""
        hidden = self._rules.hidden
        if not hidden or hidden.isdisjoint(token_ids):
            return len(token_ids), False
        for at, token_id in enumerate(token_ids, 1):
            if token_id in hidden and self.tokens + at >= self._rules.min_tokens:
                return at, True
        return len(token_ids), False
