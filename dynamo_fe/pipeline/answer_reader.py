"""The parser of one choice within the token path: text and finish reasons in, events and finish reasons out."""

from __future__ import annotations

from dynamo_fe.parsers.events import Event, Thought
from dynamo_fe.parsers.machine import Machine
from dynamo_fe.parsers.plan import ParsePlan


class AnswerReader:
    """`reasoning_tokens` counts the tokens of items that brought reasoning, as the original counts them."""

    __slots__ = ("_ended", "_machine", "flows", "reasoning_tokens")

    def __init__(self, plan: ParsePlan) -> None:
        self._machine = Machine(plan)
        self._ended = False
        self.flows = self._machine.flows
        self.reasoning_tokens = 0

    def push(self, text: str, tokens: int) -> list[Event]:
        """What the text of an item becomes."""
        inside = self._machine.inside_thought
        events = self._machine.push(text)
        if inside or any(isinstance(event, Thought) for event in events):
            self.reasoning_tokens += tokens
        return events

    def finish(self, reason: str) -> tuple[list[Event], str]:
        """What was withheld, and the finish reason: an answer that ended by itself with a whole call ended for it."""
        events = [] if self._ended else self._machine.finish(cut=reason == "length")
        self._ended = True
        return events, "tool_calls" if reason == "stop" and self._machine.completed_calls else reason

    def unfinished(self) -> bool:
        """Whether an answer that breaks off here without a reason has something to say yet."""
        return not self._ended and (self._machine.withholds or self._machine.completed_calls > 0)
