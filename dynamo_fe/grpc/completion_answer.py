"""What a completions model answers: chunks of text as `ModelInferResponse`, one each or folded into one. Sans I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dynamo_fe.pipeline.delta import Delta, Piece, TextDelta
from dynamo_fe.protocol.text_worker import CompletionChunk

VERSION: Final = "1"


@dataclass(slots=True)
class Choice:
    """One choice of an answer, or what a chunk adds to it; `finish_reason` is "" where there is none."""

    index: int
    text: str
    finish_reason: str


@dataclass(slots=True)
class Chunk:
    """One answer's worth: the model's name as it is to be shown, and the choices in their order."""

    model: str
    choices: list[Choice]


def chunks_of(pieces: list[Piece], model: str) -> list[Chunk]:
    """The chunks that a delivery brought. `model` is the name that a worker of tokens does not say itself. What a
    parser makes of text is not among them: completions are not parsed.
    """
    return [_chunk(piece, model) for piece in pieces if isinstance(piece, str | Delta)]


def _chunk(piece: str | Delta, model: str) -> Chunk:
    if isinstance(piece, str):
        return Chunk(model, [Choice(0, piece, "")])
    if isinstance(piece, TextDelta):
        return _worker_chunk(piece)
    return Chunk(model, [Choice(piece.index, piece.text, piece.finish_reason or "")])


def _worker_chunk(piece: TextDelta) -> Chunk:
    chunk = piece.chunk
    assert isinstance(chunk, CompletionChunk)
    choices = [Choice(choice.index, choice.text, choice.finish_reason or "") for choice in chunk.choices]
    return Chunk(chunk.model, choices)


class Fold:
    """Folds chunks into one: texts joined by choice; a choice's finish reason and the model are the last chunk's."""

    def __init__(self) -> None:
        self._model = ""
        self._texts: dict[int, list[str]] = {}
        self._finish: dict[int, str] = {}

    def add(self, chunk: Chunk) -> None:
        """Takes one more."""
        self._model = chunk.model
        for choice in chunk.choices:
            self._texts.setdefault(choice.index, []).append(choice.text)
            self._finish[choice.index] = choice.finish_reason

    def whole(self) -> Chunk:
        """All so far, choices by index."""
        choices = [Choice(index, "".join(self._texts[index]), self._finish[index]) for index in sorted(self._texts)]
        return Chunk(self._model, choices)


def write_answer(target: Any, chunk: Chunk, request_id: str) -> None:
    """Fills a `ModelInferResponse`; both outputs have an element a choice, and their contents are always typed."""
    target.model_name = chunk.model
    target.model_version = VERSION
    target.id = request_id
    for name, texts in (
        ("text_output", [choice.text for choice in chunk.choices]),
        ("finish_reason", [choice.finish_reason for choice in chunk.choices]),
    ):
        output = target.outputs.add(name=name, datatype="BYTES", shape=[len(texts)])
        output.contents.SetInParent()
        output.contents.bytes_contents.extend(text.encode("utf-8", "replace") for text in texts)
