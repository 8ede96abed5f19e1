"""The extra events of a chat stream that carry a complete tool call or a complete thought (Dynamo 1.6.1)."""

from __future__ import annotations

from typing import Any

import orjson

from dynamo_fe.config.settings import Settings
from dynamo_fe.http.chat_message import CallCollector
from dynamo_fe.pipeline.delta import CallEnd, Delta, Event, Thought


class DispatchEvents:
    """Makes them for all choices of one stream."""

    def __init__(self, calls: bool, reasoning: bool) -> None:
        self._calls_wanted = calls
        self._reasoning_wanted = reasoning
        self._calls: dict[int, CallCollector] = {}
        self._thoughts: dict[int, list[str]] = {}

    def frames(self, delta: Delta) -> bytes:
        """The events for what a delta completes."""
        out = []
        for event in delta.events or ():
            if isinstance(event, Thought):
                self._thoughts.setdefault(delta.index, []).append(event.text)
            else:
                out += [self._thought_over(delta.index), self._call(delta.index, event)]
        if delta.finish_reason is not None:
            out.append(self._thought_over(delta.index))
        return b"".join(out)

    def _thought_over(self, index: int) -> bytes:
        text = "".join(self._thoughts.pop(index, ()))
        if not text or not self._reasoning_wanted:
            return b""
        return _event(b"reasoning_dispatch", {"index": index, "reasoning_content": text})

    def _call(self, index: int, event: Event) -> bytes:
        calls = self._calls.setdefault(index, CallCollector())
        calls.add(event)
        if not isinstance(event, CallEnd) or not self._calls_wanted:
            return b""
        call = {"index": event.index, **calls.complete[-1]}
        return _event(b"tool_call_dispatch", {"choice_index": index, "tool_call": call})


def dispatches_of(settings: Settings) -> DispatchEvents | None:
    """What the operator wants of them, if anything."""
    calls, reasoning = settings.enable_streaming_tool_dispatch, settings.enable_streaming_reasoning_dispatch
    return DispatchEvents(calls, reasoning) if calls or reasoning else None


def _event(name: bytes, data: dict[str, Any]) -> bytes:
    return b"event: " + name + b"\ndata: " + orjson.dumps(data) + b"\n\n"
