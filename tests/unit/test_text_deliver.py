"""The stream of a text-in worker: chunks as they are, failures as errors, the hold on the worker."""

from __future__ import annotations

from typing import Any

import msgspec

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.pipeline.delta import Piece, TextDelta, Usage
from dynamo_fe.pipeline.text_deliver import TextDelivery
from dynamo_fe.protocol.errors import RequestError


class Sink:
    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.usage: Usage | None = None
        self.error: RequestError | None = None

    def on_deltas(self, pieces: list[Piece]) -> None:
        self.pieces += pieces

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        self.usage, self.error = usage, error


class Handle:
    cancelled = paused = False

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def item(data: Any) -> OutputItem:
    return OutputItem([], raw=msgspec.msgpack.encode({"data": data}))


def chunk(text: str, finish: str | None = None, **more: Any) -> OutputItem:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return item({"id": "w", "object": "o", "created": 1, "model": "m", "choices": [choice]} | more)


def delivery() -> tuple[TextDelivery, Sink, Handle]:
    sink, handle = Sink(), Handle()
    stream = TextDelivery(True, sink)
    stream.handle = handle
    return stream, sink, handle


def said(sink: Sink) -> list[Any]:
    return [piece.chunk.choices[0].delta.content for piece in sink.pieces if isinstance(piece, TextDelta)]


def test_chunks_and_their_usage() -> None:
    stream, sink, _ = delivery()
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    stream.on_items([chunk("a"), item(None)])
    assert not stream.answered
    stream.on_items([chunk("b", "stop", usage=usage)])
    assert stream.answered
    stream.on_end(None)
    assert said(sink) == ["a", "b"]
    assert sink.error is None
    assert sink.usage is not None
    assert (sink.usage.prompt_tokens, sink.usage.completion_tokens, sink.usage.finished) == (4, 2, True)


def test_rubbish_ends_the_stream_and_stops_the_worker() -> None:
    for rubbish in (item({"foo": 1}), item("abc"), OutputItem([1, 2]), OutputItem([], raw=b"\xc1")):
        stream, sink, handle = delivery()
        stream.on_items([chunk("a"), rubbish, chunk("b")])
        assert said(sink) == ["a"]
        assert sink.error is not None
        assert (sink.error.status, sink.error.first_event) == (500, False)
        assert handle.cancelled


def test_a_failure_before_anything_was_shown_may_go_to_another_worker() -> None:
    stream, sink, _ = delivery()
    heard: list[bool] = []

    def failed(error: RequestError, nothing_shown: bool) -> bool:
        heard.append(nothing_shown)
        return True

    stream.on_failure = failed
    stream.on_end(RequestError("Unavailable", "backend.stream_incomplete", "lost"))
    assert heard == [True]
    stream.on_items([chunk("a", "stop")])
    stream.on_end(None)
    assert said(sink) == ["a"]
    assert sink.error is None


def test_a_client_that_leaves_or_does_not_read() -> None:
    stream, sink, handle = delivery()
    stream.pause()
    assert handle.paused
    stream.resume()
    assert not handle.paused
    stream.cancel()
    assert handle.cancelled
    stream.on_items([chunk("a")])
    assert sink.pieces == []
