"""Shapes of completions answers: `text_completion` events and body of Dynamo 1.6.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from dynamo_fe._cext.sse_frame import TextFramer, json_string
from dynamo_fe.http.chat_shape import line_safe
from dynamo_fe.http.shape import token_name, whole
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.pipeline.delta import Delta, Piece, TokenLogprob


class CompletionChunks:
    """Frames of one completions stream. `first_index` is the number of the prompt's first choice."""

    def __init__(
        self,
        answer_id: str,
        created_secs: int,
        model: str,
        tokenizer: TextTokenizer,
        as_ids: bool,
        running_usage: Callable[[int], dict[str, Any]] | None,
        first_index: int,
    ) -> None:
        self._head = b'data: {"id":' + json_string(answer_id) + b',"choices":['
        self._tail = (
            b'],"created":%d,"model":' % created_secs
            + json_string(model)
            + b',"system_fingerprint":null,"object":"text_completion","usage":'
        )
        self._tokenizer = tokenizer
        self._as_ids = as_ids
        self._running_usage = running_usage
        self._first_index = first_index
        framer = TextFramer(self._head + b'{"text":', b',"index":%d}' % first_index + self._tail + b"null}\n\n")
        self._frame = framer.frame

    def frames(self, pieces: list[Piece]) -> bytes:
        """One frame a piece that shows anything."""
        return b"".join(
            [
                (self._frame(piece) if piece else b"") if isinstance(piece, str) else self._other(piece)
                for piece in pieces
            ]
        )

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """The chunk without choices."""
        return self._head + self._tail + orjson.dumps(usage) + b"}\n\n"

    def _other(self, delta: Delta) -> bytes:
        if not delta.text and delta.finish_reason is None and not delta.logprobs:
            return b""
        choice: dict[str, Any] = {"text": delta.text, "index": self._first_index + delta.index}
        if delta.logprobs is not None:
            choice["logprobs"] = completion_logprobs(delta.logprobs, self._tokenizer, self._as_ids)
        if delta.finish_reason is not None:
            choice["finish_reason"] = delta.finish_reason
        usage = b"null"
        if self._running_usage is not None:
            usage = orjson.dumps(self._running_usage(delta.completion_tokens))
        return self._head + line_safe(orjson.dumps(choice)) + self._tail + usage + b"}\n\n"


class CompletionAnswer:
    """Collects the choices of one prompt; `before` is text in front of each, the prompt itself with `echo`."""

    def __init__(self, tokenizer: TextTokenizer, as_ids: bool, first_index: int, before: str) -> None:
        self._tokenizer = tokenizer
        self._as_ids = as_ids
        self._first_index = first_index
        self._before = before
        self._texts: dict[int, list[str]] = {}
        self._finish: dict[int, str] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}

    def add(self, pieces: list[Piece]) -> None:
        """Takes the pieces of one wake-up."""
        for piece in pieces:
            delta = whole(piece)
            self._texts.setdefault(delta.index, [self._before]).append(delta.text)
            if delta.finish_reason is not None:
                self._finish.setdefault(delta.index, delta.finish_reason)
            if delta.logprobs is not None:
                self._logprobs.setdefault(delta.index, []).extend(delta.logprobs)

    def choices(self) -> list[dict[str, Any]]:
        """The choices by index; absent logprobs and finish reasons are left out."""
        out = []
        for index, texts in sorted(self._texts.items()):
            choice: dict[str, Any] = {"text": "".join(texts), "index": self._first_index + index}
            if index in self._logprobs:
                choice["logprobs"] = completion_logprobs(self._logprobs[index], self._tokenizer, self._as_ids)
            if index in self._finish:
                choice["finish_reason"] = self._finish[index]
            out.append(choice)
        return out


def completion_logprobs(entries: list[TokenLogprob], tokenizer: TextTokenizer, as_ids: bool) -> dict[str, Any]:
    """The `logprobs` object of the older API; `text_offset` stays empty, as in the original."""
    tops = [
        {(top.token if top.token is not None else tokenizer.token_text(top.token_id)): top.logprob for top in entry.top}
        for entry in entries
        if entry.top is not None
    ]
    return {
        "tokens": [token_name(entry, tokenizer, as_ids) for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": tops,
        "text_offset": [],
    }
