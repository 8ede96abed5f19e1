"""Shapes of completions answers: `text_completion` events and body of Dynamo 1.6.1."""

from __future__ import annotations

from typing import Any

import orjson

from dynamo_fe._cext.sse_frame import TextFramer, json_string
from dynamo_fe.http.chat_shape import line_safe
from dynamo_fe.http.extras import Extras
from dynamo_fe.http.shape import usage_of, whole
from dynamo_fe.http.token_names import TokenNames
from dynamo_fe.pipeline.delta import Delta, Piece, TokenLogprob
from dynamo_fe.protocol.single import shortest, single


class CompletionChunks:
    """Frames of one completions stream. `first_index` is the number of the prompt's first choice."""

    def __init__(
        self,
        answer_id: str,
        created_secs: int,
        model: str,
        names: TokenNames,
        first_index: int,
        extras: Extras | None,
    ) -> None:
        self._head = b'data: {"id":' + json_string(answer_id) + b',"choices":['
        self._tail = (
            b'],"created":%d,"model":' % created_secs
            + json_string(model)
            + b',"system_fingerprint":null,"object":"text_completion","usage":'
        )
        self._names = names
        self._first_index = first_index
        self._extras = extras
        framer = TextFramer(self._head + b'{"text":', b',"index":%d}' % first_index + self._tail + b"null}\n\n")
        self._frame = framer.frame

    def frames(self, pieces: list[Piece]) -> bytes:
        """One frame a piece that shows anything."""
        return b"".join(
            [
                (self._frame(piece) if piece else b"") if isinstance(piece, str) else self._other(whole(piece))
                for piece in pieces
            ]
        )

    def usage_frame(self, usage: dict[str, Any]) -> bytes:
        """The chunk without choices."""
        return self._head + self._tail + orjson.dumps(usage) + b"}\n\n"

    def _other(self, delta: Delta) -> bytes:
        said = delta.text or delta.finish_reason is not None or delta.logprobs is not None
        told = b"" if self._extras is None else self._extras.chunk(delta)
        if not (said or told) and delta.usage is None:
            return b""
        choice: dict[str, Any] = {"text": delta.text, "index": self._first_index + delta.index}
        if delta.logprobs is not None:
            choice["logprobs"] = completion_logprobs(delta.logprobs, self._names)
        if delta.finish_reason is not None:
            choice["finish_reason"] = delta.finish_reason
        more = b"null" if delta.usage is None else orjson.dumps(usage_of(delta.usage, True))
        return self._head + line_safe(orjson.dumps(choice)) + self._tail + more + told + b"}\n\n"


class CompletionAnswer:
    """Collects the choices of one prompt; `before` is text in front of each, the prompt itself with `echo`."""

    def __init__(self, names: TokenNames, first_index: int, before: str, extras: Extras | None) -> None:
        self._names = names
        self._first_index = first_index
        self._before = before
        self._extras = extras
        self._texts: dict[int, list[str]] = {}
        self._finish: dict[int, str] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}

    def add(self, pieces: list[Piece]) -> None:
        """Takes the pieces of one wake-up."""
        for piece in pieces:
            delta = whole(piece)
            self._texts.setdefault(delta.index, [self._before]).append(delta.text)
            if delta.finish_reason is not None:
                self._finish[delta.index] = delta.finish_reason
            if delta.logprobs is not None:
                self._logprobs.setdefault(delta.index, []).extend(delta.logprobs)
            if self._extras is not None:
                self._extras.add(delta)

    def choices(self) -> list[dict[str, Any]]:
        """The choices by index; absent logprobs and finish reasons are left out."""
        out = []
        for index, texts in sorted(self._texts.items()):
            choice: dict[str, Any] = {"text": "".join(texts), "index": self._first_index + index}
            if index in self._logprobs:
                choice["logprobs"] = completion_logprobs(self._logprobs[index], self._names)
            if index in self._finish:
                choice["finish_reason"] = self._finish[index]
            out.append(choice)
        return out


def completion_logprobs(entries: list[TokenLogprob], names: TokenNames) -> dict[str, Any]:
    """The `logprobs` object of the older API; `text_offset` stays empty, as in the original.

    The sampled token's own number has the digits of single precision, those of the alternatives more, as there.
    """
    return {
        "tokens": [names.name(entry) for entry in entries],
        "token_logprobs": [shortest(entry.logprob) for entry in entries if entry.logprob is not None],
        "top_logprobs": [_tops(entry, names) for entry in entries if entry.top is not None],
        "text_offset": [],
    }


def _tops(entry: TokenLogprob, names: TokenNames) -> dict[str, float]:
    found: dict[str, float] = {}
    for top in entry.top or ():
        found.setdefault(names.top_name(top), single(top.logprob))
    if entry.logprob is not None:
        # by its text, as all are: an alternative of the same text gives way
        found[names.name(entry)] = single(entry.logprob)
    return found
