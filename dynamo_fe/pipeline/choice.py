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

    __slots__ = ("hidden", "include", "keep_stop", "min_tokens", "named", "strings")

    def __init__(self, body: WorkerRequest) -> None:
        stop = body.stop_conditions
        ids = stop.stop_token_ids if isinstance(stop.stop_token_ids, list) else []
        self.named = frozenset(ids)
        self.hidden = frozenset([*(stop.stop_token_ids_hidden or ()), *ids])
        self.keep_stop = body.output_options.no_stop_trim is True
        self.include = body.sampling_options.include_stop_str_in_output is True or self.keep_stop
        self.min_tokens = stop.min_tokens or 0
        self.strings = stop.stop or []


class Choice:
    """The state of one choice. `ended`: nothing more is to be shown; `finished`: an end with a reason was seen;
    `stopped_by`: the client's own stop string or token that ended it; `dropped`: a token ended it that is not shown;
    `undecoded`: tokens of which no text was made.
    """

    __slots__ = (
        "_decoder",
        "_matcher",
        "_rules",
        "dropped",
        "ended",
        "finished",
        "hidden",
        "push",
        "started",
        "stopped_by",
        "tokens",
        "undecoded",
    )

    def __init__(self, decoder: TokenDecoder, rules: StopRules) -> None:
        self._decoder = decoder
        self._rules = rules
        self._matcher = StopMatcher(rules.strings, rules.include) if rules.strings else None
        self.push = decoder.push
        self.hidden = rules.hidden
        self.tokens = self.undecoded = 0
        self.started = False
        self.finished = False
        self.ended = False
        self.dropped = False
        self.stopped_by: str | int | None = None

    @property
    def plain(self) -> bool:
        """Whether text needs no matching, so that `push` alone makes it."""
        return self._matcher is None

    def take(self, token_ids: list[int], finish: str | None) -> tuple[str, str | None, int]:
        """Takes one item; returns the text to show, the finish reason as OpenAI names it, and the tokens taken.

        A stop found here wins over the worker's own finish reason and ends the choice.
        """
        if self._matcher is None:
            text, taken = self._take_plain(token_ids)
        else:
            text, taken = self._take_matched(token_ids, self._matcher)
        if self.ended:
            finish = "stop"
        elif finish is not None:
            text += self.rest()
        return text, self.finish(finish), taken

    def finish(self, finish: str | None) -> str | None:
        """Notes a finish reason of the worker, if there is one; returns it as OpenAI names it."""
        if finish is None:
            return None
        self.finished = True
        return FINISH_REASONS[finish]

    def rest(self) -> str:
        """Text withheld so far, when nothing more will decide it."""
        text = self._decoder.flush()
        if self._matcher is not None:
            text = self._matcher.push(text)[0] + self._matcher.flush()
        return text

    def _take_plain(self, token_ids: list[int]) -> tuple[str, int]:
        hidden, past = self._rules.hidden, self._rules.min_tokens - self.tokens
        taken = len(token_ids)
        if hidden and not hidden.isdisjoint(token_ids):
            for at, token_id in enumerate(token_ids, 1):
                if token_id in hidden and at > past:
                    taken = at
                    self._stop(token_id)
                    break
        self.tokens += taken
        shown = token_ids[:taken]
        text = self._decoder.push(shown[:-1] if self.ended and not self._rules.keep_stop else shown)
        return (text + self._decoder.flush() if self.ended else text), taken

    def _take_matched(self, token_ids: list[int], matcher: StopMatcher) -> tuple[str, int]:
        """Token by token: what comes behind the one that completes a stop string is neither shown nor counted, and
        the first `min_tokens` are not looked at.
        """
        rules, push = self._rules, self._decoder.push
        out = []
        for at, token_id in enumerate(token_ids, 1):
            self.tokens += 1
            past = self.tokens > rules.min_tokens
            if past and token_id in rules.hidden:
                self._stop(token_id)
                text = push([token_id]) if rules.keep_stop else ""
                out.append(text + self.rest())
                return "".join(out), at
            text = push([token_id])
            if not text:
                continue
            if past:
                text, hit = matcher.push(text)
                if hit:
                    self.stopped_by, self.ended = matcher.hit, True
                    out.append(text)
                    return "".join(out), at
            out.append(text)
        return "".join(out), len(token_ids)

    def _stop(self, token_id: int) -> None:
        self.ended = True
        self.dropped = not self._rules.keep_stop
        self.undecoded += self.dropped
        self.stopped_by = token_id if token_id in self._rules.named else None
