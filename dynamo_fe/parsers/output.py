"""The events of one choice, gathered: neighbouring pieces of one kind become one event."""

from __future__ import annotations

from collections.abc import Callable

from dynamo_fe.parsers.events import Arguments, CallEnd, CallStart, Content, Event, Thought
from dynamo_fe.parsers.plan import ParsePlan


class Output:
    """Where readers write. `calls` counts those told to the endpoint, `completed` those of them told whole, and `told`
    all that readers began.

    `call_id` makes the id of a call from its name, its index and the id the model gave, None where it gave none.
    """

    __slots__ = ("_call_id", "_events", "_ids", "_kind", "_open", "_parts", "_plan", "calls", "completed", "told")

    def __init__(self, plan: ParsePlan, call_id: Callable[[str, int, str | None], str]) -> None:
        self._plan = plan
        self._call_id = call_id
        self._ids: set[str] = set()
        self._events: list[Event] = []
        self._parts: list[str] = []
        self._kind = ""
        self._open = False
        self.calls = 0
        self.completed = 0
        self.told = 0

    def content(self, text: str) -> None:
        self._add("content", text)

    def thought(self, text: str) -> None:
        self._add("thought", text)

    def start(self, name: str, given_id: str | None = None) -> None:
        """Begins a call; one that the request did not ask for is taken in and not told."""
        plan = self._plan
        self.told += 1
        self._open = (plan.named is None or name == plan.named) and (plan.parallel or self.calls == 0)
        if not self._open:
            return
        self._flush()
        self._events.append(CallStart(self.calls, self._new_id(name, given_id), name))
        self.calls += 1

    def arguments(self, text: str) -> None:
        if self._open:
            self._add("arguments", text)

    def end(self) -> None:
        if self._open:
            self._flush()
            self._events.append(CallEnd(self.calls - 1))
            self._open = False
            self.completed += 1

    def drain(self) -> list[Event]:
        """The events since the last call."""
        self._flush()
        events, self._events = self._events, []
        return events

    def _add(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind
        self._parts.append(text)

    def _flush(self) -> None:
        text = "".join(self._parts)
        self._parts.clear()
        if not text:
            return
        if self._kind == "content":
            self._events.append(Content(text))
        elif self._kind == "thought":
            self._events.append(Thought(text))
        else:
            self._events.append(Arguments(self.calls - 1, text))

    def _new_id(self, name: str, given: str | None) -> str:
        """An id no earlier call of the answer has: counted on where the family counts, else another."""
        call_id = self._call_id(name, self.calls, given)
        stem, colon, number = call_id.rpartition(":")
        while call_id in self._ids:
            if colon and number.isdecimal():
                number = str(int(number) + 1)
                call_id = stem + colon + number
            else:
                call_id = self._call_id(name, self.calls, None)
        self._ids.add(call_id)
        return call_id
