"""A chat message made of a parser's events: the deltas of a stream, or the message as a whole."""

from __future__ import annotations

from typing import Any

from dynamo_fe.pipeline.delta import Arguments, CallEnd, CallStart, Content, Event, Thought


def event_members(events: list[Event], reasoning_field: str) -> list[dict[str, Any]]:
    """The `delta` objects of a stream. The start of a call has the arguments that came with it."""
    members: list[dict[str, Any]] = []
    started: CallStart | None = None
    for event in events:
        if isinstance(event, Content):
            members.append({"content": event.text})
        elif isinstance(event, Thought):
            members.append({reasoning_field: event.text})
        elif isinstance(event, CallStart):
            members.append({"tool_calls": [{"index": event.index, **call_object(event.call_id, event.name, "")}]})
        elif isinstance(event, Arguments):
            if started is not None:
                members[-1]["tool_calls"][0]["function"]["arguments"] = event.text
            else:
                members.append({"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]})
        started = event if isinstance(event, CallStart) else None
    return members


def call_object(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A tool call as the API shows it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class CallCollector:
    """Gathers calls from their events; `complete` holds those that ended, in order."""

    def __init__(self) -> None:
        self.complete: list[dict[str, Any]] = []
        self._start: CallStart | None = None
        self._arguments: list[str] = []

    def add(self, event: Event) -> None:
        """Takes the next event; text is not looked at."""
        if isinstance(event, CallStart):
            self._start = event
            self._arguments = []
        elif isinstance(event, Arguments):
            self._arguments.append(event.text)
        elif isinstance(event, CallEnd) and self._start is not None:
            self.complete.append(call_object(self._start.call_id, self._start.name, "".join(self._arguments)))


class ChatMessage:
    """The message of one choice, gathered. A call that was cut off is left out."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self._reasoning: list[str] = []
        self._calls = CallCollector()

    def add(self, event: Event) -> None:
        """Takes the next event."""
        if isinstance(event, Content):
            self.content.append(event.text)
        elif isinstance(event, Thought):
            self._reasoning.append(event.text)
        else:
            self._calls.add(event)

    def whole(self, reasoning_field: str) -> dict[str, Any]:
        """The `message` object; content is null when there is none, calls and reasoning are left out then."""
        message: dict[str, Any] = {"content": "".join(self.content) or None, "refusal": None, "role": "assistant"}
        if self._calls.complete:
            message["tool_calls"] = self._calls.complete
        reasoning = "".join(self._reasoning)
        if reasoning:
            message[reasoning_field] = reasoning
        return message
