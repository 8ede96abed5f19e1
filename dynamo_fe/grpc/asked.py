"""A request that was read, and the shape of the answers that it wants. Sans I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dynamo_fe.grpc.choosing import TENSOR
from dynamo_fe.grpc.completion_answer import VERSION, Chunk, chunks_of, write_answer
from dynamo_fe.grpc.messages import ModelInferResponse, ModelStreamInferResponse
from dynamo_fe.grpc.piece_frame import ANSWER_OF_STREAM, PieceFrame
from dynamo_fe.grpc.tensor_answer import fault_of, raw_contents, write_tensors
from dynamo_fe.grpc.wire import size_bytes
from dynamo_fe.pipeline.delta import Delta, Piece, TensorDelta, TextDelta
from dynamo_fe.protocol.tensor import TensorAnswer
from dynamo_fe.protocol.text_worker import CompletionChoice

FINAL: Final = "triton_final_response"


@dataclass(slots=True)
class Shape:
    """`on_stream`: answers are messages of a stream; `raw`: tensors go out in raw form; `marked`: each answer says
    whether it is the final one of its request; `numbered`: each says which choice it is of. `final_said`: a worker has
    marked its own final answer.
    """

    request_id: str
    on_stream: bool
    raw: bool
    marked: bool = False
    numbered: bool = False
    final_said: bool = False

    @property
    def plain(self) -> bool:
        """Whether answers of a stream have no parameters."""
        return self.on_stream and not (self.marked or self.numbered)

    def chunk(self, chunk: Chunk) -> bytes:
        """An answer of text, serialized."""
        message, target = self._message()
        write_answer(target, chunk, self.request_id)
        if self.marked:
            target.parameters[FINAL].bool_param = False
        if self.numbered and len(chunk.choices) == 1:
            target.parameters["index"].int64_param = chunk.choices[0].index
        return _serialized(message)

    def tensors(self, answer: TensorAnswer) -> bytes:
        """An answer of tensors without fault, serialized."""
        target = ModelInferResponse()
        if self.marked:
            target.parameters[FINAL].bool_param = False
        write_tensors(target, answer, self.request_id, self.raw)
        if self.marked:
            self.final_said = self.final_said or target.parameters[FINAL].bool_param
        parts = [_serialized(target), *(raw_contents(answer) if self.raw else ())]
        if self.on_stream:
            parts[:0] = ANSWER_OF_STREAM, size_bytes(sum(map(len, parts)))
        return b"".join(parts)

    def final(self, model: str) -> bytes:
        """The empty answer that marks the end of a request."""
        message, target = self._message()
        target.model_name, target.model_version, target.id = model, VERSION, self.request_id
        target.parameters[FINAL].bool_param = True
        return _serialized(message)

    def error(self, text: str) -> bytes:
        """The answer of a stream that tells of a failure."""
        return _serialized(ModelStreamInferResponse(error_message=text))

    def _message(self) -> tuple[Any, Any]:
        """A new message, and the `ModelInferResponse` in it."""
        if not self.on_stream:
            message = ModelInferResponse()
            return message, message
        message = ModelStreamInferResponse()
        message.infer_response.SetInParent()
        return message, message.infer_response


@dataclass(slots=True)
class Asked:
    """`kind`: the way it is answered; `streaming`: piece by piece; `body`: the prompt, or the fields of tensors;
    `frame`: what its answers have in common.
    """

    kind: str
    name: str
    streaming: bool
    body: Any
    sampling: dict[str, Any]
    shape: Shape
    frame: PieceFrame | None = None

    def messages(self, pieces: list[Piece]) -> list[bytes]:
        """The answers of a stream that the pieces make."""
        if self.kind == TENSOR:
            return [self._tensor_message(piece) for piece in pieces if isinstance(piece, TensorDelta)]
        if self.shape.plain:
            return [self._text_message(piece) for piece in pieces if isinstance(piece, str | Delta)]
        return [self.shape.chunk(chunk) for chunk in chunks_of(pieces, self.name)]

    def _text_message(self, piece: str | Delta) -> bytes:
        """The quick way for one choice; anything else goes the general one."""
        if isinstance(piece, str):
            return self._frame_of(self.name).frame(piece, "")
        if isinstance(piece, TextDelta):
            chunk, choices = piece.chunk, piece.chunk.choices
            if len(choices) == 1 and isinstance(choices[0], CompletionChoice):
                return self._frame_of(chunk.model).frame(choices[0].text, choices[0].finish_reason or "")
        else:
            return self._frame_of(self.name).frame(piece.text, piece.finish_reason or "")
        return self.shape.chunk(*chunks_of([piece], self.name))

    def _frame_of(self, model: str) -> PieceFrame:
        if self.frame is None or self.frame.model != model:
            self.frame = PieceFrame(model, self.shape.request_id)
        return self.frame

    def _tensor_message(self, piece: TensorDelta) -> bytes:
        if piece.answer is None:
            return self.shape.error(f"Internal: {piece.fault}")
        fault = fault_of(piece.answer, self.shape.raw)
        if fault is not None:
            return self.shape.error(f"Failed to convert response: {fault}")
        return self.shape.tensors(piece.answer)


def _serialized(message: Any) -> bytes:
    whole: bytes = message.SerializeToString()
    return whole
