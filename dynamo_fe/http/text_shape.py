"""The answers of text-in workers: chunks as the worker made them, or folded into one body.

Ids, times, names and counts are the worker's. Source: Dynamo 1.6.1, its answers for workers of `model_input` Text.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from dynamo_fe.pipeline.delta import Piece, TextDelta
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.text_worker import (
    ChatChoice,
    ChatChunk,
    ChatDelta,
    CompletionChoice,
    CompletionChunk,
    TextChunk,
)
from dynamo_fe.protocol.worker import CompletionUsage


class TextReply:
    """The shapes of one answer. `choices_per_prompt` numbers the choices of a batch; `keep_calls` leaves tool calls in
    a folded answer, which the original does only for requests with tools.
    """

    def __init__(self, chat: bool, choices_per_prompt: int, keep_calls: bool) -> None:
        self._chat = chat
        self._choices_per_prompt = choices_per_prompt
        self._keep_calls = keep_calls
        self._answers: list[TextAnswer] = []

    def chunks(self, index: int, prepared: Prepared) -> TextChunks:
        """For the stream of one worker request."""
        return TextChunks(self._chat, index * self._choices_per_prompt)

    def closing(self) -> TextChunks:
        """The worker's own chunks say all there is."""
        return TextChunks(self._chat, 0)

    def answer(self, index: int, prepared: Prepared) -> TextAnswer:
        """Collects one worker request."""
        answer = TextAnswer(index * self._choices_per_prompt, self._keep_calls)
        self._answers.append(answer)
        return answer

    def body(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The folded answer; `usage` is not looked at, the worker's own counts are in what was collected."""
        head = _Head()
        for answer in self._answers:
            head.take(answer.head)
        if self._chat:
            out = _chat_head(head) | {"object": "chat.completion", "choices": choices}
            return out if head.usage is None else out | {"usage": _usage(head.usage, False)}
        return _completion_head(head, "text_completion") | {"choices": choices}


class TextChunks:
    """SSE frames of one worker request."""

    def __init__(self, chat: bool, first_index: int) -> None:
        self._chat = chat
        self._first_index = first_index
        self._with_role: set[int] = set()

    def frames(self, pieces: list[Piece]) -> bytes:
        """Chunks that say nothing are left out, as is a role that was told before."""
        return b"".join(self._frame(piece.chunk) for piece in pieces if isinstance(piece, TextDelta))

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """Nothing: the worker sends its usage itself, if any."""
        return b""

    def _frame(self, chunk: TextChunk) -> bytes:
        head = _Head()
        head.take(chunk)
        body: dict[str, Any]
        if isinstance(chunk, ChatChunk):
            for choice in chunk.choices:
                self._tell_role_once(choice)
            body = _chat_head(head) | {"object": chunk.object, "choices": msgspec.to_builtins(chunk.choices)}
            if chunk.usage is not None:
                body["usage"] = _usage(chunk.usage, False)
        else:
            for other in chunk.choices:
                other.index += self._first_index
            body = _completion_head(head, chunk.object) | {"choices": msgspec.to_builtins(chunk.choices)}
        if chunk.usage is None and all(choice.is_empty() for choice in chunk.choices):
            return b""
        return b"data: " + orjson.dumps(body) + b"\n\n"

    def _tell_role_once(self, choice: ChatChoice) -> None:
        if choice.index in self._with_role:
            choice.delta.role = None
        elif choice.delta.role is not None:
            self._with_role.add(choice.index)


class TextAnswer:
    """Folds the chunks of one worker request."""

    def __init__(self, first_index: int, keep_calls: bool) -> None:
        self.head = _Head()
        self._first_index = first_index
        self._keep_calls = keep_calls
        self._chat: dict[int, _Message] = {}
        self._completion: dict[int, CompletionChoice] = {}

    def add(self, pieces: list[Piece]) -> None:
        """Takes the chunks of one wake-up."""
        for piece in pieces:
            if not isinstance(piece, TextDelta):
                continue
            self.head.take(piece.chunk)
            if isinstance(piece.chunk, ChatChunk):
                for choice in piece.chunk.choices:
                    self._chat.setdefault(choice.index, _Message()).add(choice)
            else:
                for other in piece.chunk.choices:
                    self._add_completion(other)

    def choices(self) -> list[dict[str, Any]]:
        """The choices by index."""
        if self._chat:
            return [self._chat[index].choice(index, self._keep_calls) for index in sorted(self._chat)]
        return [msgspec.to_builtins(self._completion[index]) for index in sorted(self._completion)]

    def _add_completion(self, choice: CompletionChoice) -> None:
        choice.index += self._first_index
        whole = self._completion.setdefault(choice.index, choice)
        if whole is choice:
            return
        whole.text += choice.text
        whole.finish_reason = choice.finish_reason or whole.finish_reason
        if whole.logprobs is None or choice.logprobs is None:
            whole.logprobs = whole.logprobs or choice.logprobs
        else:
            for name in whole.logprobs.__struct_fields__:
                getattr(whole.logprobs, name).extend(getattr(choice.logprobs, name))


class _Head:
    """What the chunks of an answer say beside their choices; the last word counts."""

    def __init__(self) -> None:
        self.id = self.model = ""
        self.created = 0
        self.system_fingerprint: str | None = None
        self.service_tier: str | None = None
        self.usage: CompletionUsage | None = None
        self.nvext: Any = None

    def take(self, chunk: TextChunk | _Head) -> None:
        if not chunk.id and not chunk.model:
            return
        self.id, self.model, self.created = chunk.id, chunk.model, chunk.created
        self.system_fingerprint = chunk.system_fingerprint or self.system_fingerprint
        if not isinstance(chunk, CompletionChunk):
            self.service_tier = chunk.service_tier
        self.usage = chunk.usage or self.usage
        if isinstance(self.nvext, dict) and isinstance(chunk.nvext, dict):
            self.nvext = self.nvext | chunk.nvext
        else:
            self.nvext = chunk.nvext if chunk.nvext is not None else self.nvext


class _Message:
    """Folds the deltas of one choice into its message."""

    def __init__(self) -> None:
        self._whole = ChatDelta()
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: str | None = None
        self._logprobs: dict[str, Any] | None = None

    def add(self, choice: ChatChoice) -> None:
        whole, delta = self._whole, choice.delta
        if isinstance(whole.content, list) and isinstance(delta.content, list):
            whole.content = whole.content + delta.content
        elif isinstance(whole.content, str) and isinstance(delta.content, str):
            whole.content += delta.content
        else:
            whole.content = delta.content if delta.content is not None else whole.content
        whole.reasoning_content = _joined(whole.reasoning_content, delta.reasoning_content)
        whole.refusal = _joined(whole.refusal, delta.refusal)
        whole.role = delta.role or whole.role
        self._finish = choice.finish_reason or self._finish
        for part in delta.tool_calls or ():
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self._calls.setdefault(part.index, empty)
            call["id"] = part.id or call["id"]
            if part.function is not None:
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
        if choice.logprobs is not None:
            so_far = self._logprobs or {"content": None, "refusal": None}
            for name in so_far:
                more = getattr(choice.logprobs, name)
                so_far[name] = so_far[name] if more is None else [*(so_far[name] or ()), *more]
            self._logprobs = so_far

    def choice(self, index: int, keep_calls: bool) -> dict[str, Any]:
        whole = self._whole
        message: dict[str, Any] = {"content": whole.content or None, "refusal": whole.refusal}
        finish = self._finish
        if self._calls and keep_calls:
            message["tool_calls"] = [self._calls[number] for number in sorted(self._calls)]
        elif finish == "tool_calls":
            finish = "stop"
        message["role"] = whole.role or "assistant"
        if whole.reasoning_content is not None:
            message["reasoning_content"] = whole.reasoning_content
        return {"index": index, "message": message, "finish_reason": finish, "logprobs": self._logprobs}


def _joined(before: str | None, more: str | None) -> str | None:
    return before if more is None else (before or "") + more


def _chat_head(head: _Head) -> dict[str, Any]:
    out: dict[str, Any] = {"id": head.id, "created": head.created, "model": head.model}
    for name in ("service_tier", "system_fingerprint", "nvext"):
        if getattr(head, name) is not None:
            out[name] = getattr(head, name)
    return out


def _completion_head(head: _Head, kind: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": head.id,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.system_fingerprint,
        "object": kind,
        "usage": None if head.usage is None else _usage(head.usage, True),
    }
    return out if head.nvext is None else out | {"nvext": head.nvext}


def _usage(usage: CompletionUsage, keep_nulls: bool) -> dict[str, Any]:
    """Details that are null go in any case; their null members stay in completions, as in the original."""
    out: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(usage).items():
        if isinstance(value, dict):
            out[name] = {key: member for key, member in value.items() if keep_nulls or member is not None}
        elif value is not None:
            out[name] = value
    return out
