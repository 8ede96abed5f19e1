"""Shapes of chat answers: `chat.completion.chunk` events and the `chat.completion` body of Dynamo 1.6.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from dynamo_fe._cext.sse_frame import TextFramer, json_string
from dynamo_fe.http.chat_message import ChatMessage, event_members
from dynamo_fe.http.dispatch_events import DispatchEvents
from dynamo_fe.http.extras import Extras
from dynamo_fe.http.shape import usage_of, whole
from dynamo_fe.http.token_names import TokenNames
from dynamo_fe.pipeline.delta import Delta, Piece, Thought, TokenLogprob
from dynamo_fe.protocol.single import shortest
from dynamo_fe.protocol.worker import TopLogprob


class ChatChunks:
    """Frames of one chat stream. `reasoning_field` is where the reasoning stands; `dispatches` makes the extra events
    of complete calls and thoughts, if they are wanted.
    """

    def __init__(
        self,
        answer_id: str,
        created_secs: int,
        model: str,
        names: TokenNames,
        extras: Extras | None,
        reasoning_field: str,
        dispatches: DispatchEvents | None = None,
    ) -> None:
        self._head = b'data: {"id":' + json_string(answer_id) + b',"choices":['
        self._tail = (
            b'],"created":%d,"model":' % created_secs + json_string(model) + b',"object":"chat.completion.chunk"'
        )
        self._names = names
        self._extras = extras
        self._reasoning_field = reasoning_field
        self._dispatches = dispatches
        self._started: set[int] = set()
        # bare pieces have a frame of their own once choice 0 has begun
        self._plain = False
        self._frame = self._framer("content")
        self._thought_frame = self._framer(reasoning_field)

    def frames(self, pieces: list[Piece]) -> bytes:
        """One frame a piece."""
        if len(pieces) == 1:
            piece = pieces[0]
            return self._frame(piece) if type(piece) is str and self._plain else self._other(piece)
        return b"".join(
            [self._frame(piece) if type(piece) is str and self._plain else self._other(piece) for piece in pieces]
        )

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """The chunk without choices."""
        return self._head + self._tail + b',"usage":' + orjson.dumps(usage) + b"}\n\n"

    def _framer(self, field: str) -> Callable[[str], bytes]:
        return TextFramer(
            self._head + b'{"index":0,"delta":{' + json_string(field) + b":",
            b'},"finish_reason":null,"logprobs":null}' + self._tail + b"}\n\n",
        ).frame

    def _other(self, piece: Piece) -> bytes:
        """A frame with more than text: the first of a choice, one with a finish reason, logprobs or usage."""
        if type(piece) is Thought and self._plain:
            return self._thought_frame(piece.text)
        delta = whole(piece)
        if delta.events is None:
            members: list[dict[str, Any]] = [{"content": delta.text}] if delta.text or delta.verbatim else []
            dispatched = b""
        else:
            members = event_members(delta.events, self._reasoning_field)
            dispatched = b"" if self._dispatches is None else self._dispatches.frames(delta)
            if delta.finish_reason is not None:
                members.append({})
        first = delta.index not in self._started
        self._started.add(delta.index)
        self._plain = self._dispatches is None
        if not members:
            members.append({})
        if first:
            members[0]["role"] = "assistant"
        usage = b"" if delta.usage is None else b',"usage":' + orjson.dumps(usage_of(delta.usage, False))
        bare = b"".join([self._choice(delta.index, member, None, None, usage) for member in members[:-1]])
        return dispatched + bare + self._last(delta, members[-1], usage)

    def _last(self, delta: Delta, member: dict[str, Any], more: bytes) -> bytes:
        """The frame with all that a delta says beside its text; none if it says nothing."""
        if self._extras is not None:
            more += self._extras.chunk(delta)
        logprobs = None if delta.logprobs is None else chat_logprobs(delta.logprobs, self._names)
        if not (more or member or delta.finish_reason is not None or logprobs is not None):
            return b""
        return self._choice(delta.index, member, delta.finish_reason, logprobs, more)

    def _choice(
        self, index: int, member: dict[str, Any], finish: str | None, logprobs: dict[str, Any] | None, more: bytes
    ) -> bytes:
        choice = {"index": index, "delta": member, "finish_reason": finish, "logprobs": logprobs}
        return self._head + line_safe(orjson.dumps(choice)) + self._tail + more + b"}\n\n"


class ChatAnswer:
    """Collects a chat answer. `prompt_logprobs` is what the engine said of the prompt, if it did and the client wants
    it.
    """

    def __init__(self, names: TokenNames, extras: Extras | None, prompt_wanted: bool, reasoning_field: str) -> None:
        self._names = names
        self._extras = extras
        self._reasoning_field = reasoning_field
        self._messages: dict[int, ChatMessage] = {}
        self._finish: dict[int, str] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}
        self._prompt_wanted = prompt_wanted
        self.prompt_logprobs: Any = None

    def add(self, pieces: list[Piece]) -> None:
        """Takes the pieces of one wake-up."""
        for piece in pieces:
            if isinstance(piece, str):
                self._message(0).content.append(piece)
            elif isinstance(piece, Delta):
                self._add(piece)
            else:
                self._message(0).add(piece)

    def choices(self) -> list[dict[str, Any]]:
        """The choices by index; content is null when there is no text."""
        return [
            {
                "index": index,
                "message": message.whole(self._reasoning_field),
                "finish_reason": self._finish.get(index),
                "logprobs": chat_logprobs(self._logprobs[index], self._names) if index in self._logprobs else None,
            }
            for index, message in sorted(self._messages.items())
        ]

    def _message(self, index: int) -> ChatMessage:
        return self._messages.setdefault(index, ChatMessage())

    def _add(self, delta: Delta) -> None:
        message = self._message(delta.index)
        message.content.append(delta.text)
        for event in delta.events or ():
            message.add(event)
        if delta.finish_reason is not None:
            self._finish[delta.index] = delta.finish_reason
        if delta.logprobs is not None:
            self._logprobs.setdefault(delta.index, []).extend(delta.logprobs)
        if self._extras is not None:
            self._extras.add(delta)
        if self._prompt_wanted and isinstance(delta.engine_data, dict):
            self.prompt_logprobs = delta.engine_data.get("prompt_logprobs", self.prompt_logprobs)


def chat_logprobs(entries: list[TokenLogprob], names: TokenNames) -> dict[str, Any]:
    """The `logprobs` object; the sampled token is appended where the worker's list lacks it."""
    content = []
    for entry in entries:
        if entry.logprob is None:
            continue
        name, logprob = names.name(entry), shortest(entry.logprob)
        tops = [_top(top, names) for top in entry.top or ()] if names.tops_wanted else []
        spelled = names.bytes_of(entry.token_id, name)
        if names.tops_wanted and all(top.token_id != entry.token_id for top in entry.top or ()):
            tops.append({"token": name, "logprob": logprob, "bytes": spelled})
        content.append(
            {
                "token": name,
                "logprob": logprob,
                "token_id": entry.token_id,
                "bytes": spelled,
                "top_logprobs": tops,
            }
        )
    return {"content": content, "refusal": None}


def _top(entry: TopLogprob, names: TokenNames) -> dict[str, Any]:
    name = names.top_name(entry)
    return {
        "token": name,
        "logprob": shortest(entry.logprob),
        "bytes": names.bytes_of(entry.token_id, name, entry.bytes),
    }


def line_safe(document: bytes) -> bytes:
    """JSON text without U+0085, U+2028 and U+2029, at which some readers of event streams cut a line."""
    if b"\xc2\x85" in document or b"\xe2\x80\xa8" in document or b"\xe2\x80\xa9" in document:
        return (
            document.replace(b"\xc2\x85", b"\\u0085")
            .replace(b"\xe2\x80\xa8", b"\\u2028")
            .replace(b"\xe2\x80\xa9", b"\\u2029")
        )
    return document
