"""One answer out of all that a worker says: for unary calls, and for requests of a stream that want no pieces."""

from __future__ import annotations

import abc

from dynamo_fe.grpc.asked import Asked
from dynamo_fe.grpc.completion_answer import Fold, chunks_of
from dynamo_fe.grpc.meter import KserveMeter
from dynamo_fe.grpc.status import Status
from dynamo_fe.grpc.tensor_answer import fault_of
from dynamo_fe.grpc.worker_call import WorkerCall
from dynamo_fe.pipeline.delta import Piece, TensorDelta
from dynamo_fe.protocol.tensor import TensorAnswer


class Folder(abc.ABC):
    """Collects the pieces of `call`."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.call: WorkerCall | None = None

    @abc.abstractmethod
    def add(self, pieces: list[Piece]) -> None:
        """Takes the pieces of one wake-up."""

    @abc.abstractmethod
    def whole(self, meter: KserveMeter) -> bytes:
        """The answer, serialized; raises Status when the pieces make none, and counts that where it is an error."""


class TextFolder(Folder):
    """Folds chunks of text."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._fold = Fold()

    def add(self, pieces: list[Piece]) -> None:
        for chunk in chunks_of(pieces, self._asked.name):
            self._fold.add(chunk)

    def whole(self, meter: KserveMeter) -> bytes:
        return self._asked.shape.chunk(self._fold.whole())


class TensorFolder(Folder):
    """Takes the one answer there may be."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._answer: TensorAnswer | None = None
        self._complaint: str | None = None

    def add(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if not isinstance(piece, TensorDelta) or self._complaint is not None:
                continue
            if piece.answer is None:
                self._complaint = f"Internal: {piece.fault}"
            elif self._answer is not None:
                self._complaint = "Multiple responses in non-streaming mode"
            else:
                self._answer = piece.answer
        if self._complaint is not None and self.call is not None:
            self.call.finish()

    def whole(self, meter: KserveMeter) -> bytes:
        if self._complaint is not None:
            meter.worker_failed(None)
            raise Status.unfolded(self._complaint)
        if self._answer is None:
            meter.succeeded()
            raise Status.unfolded("No response received")
        fault = fault_of(self._answer, self._asked.shape.raw)
        if fault is not None:
            meter.succeeded()
            raise Status.bad_answer(fault)
        return self._asked.shape.tensors(self._answer)
