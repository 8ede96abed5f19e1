"""One request on its way through a worker: dispatched, its pieces handed on, its end awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from dynamo_fe.grpc.meter import KserveMeter
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.pipeline.deliver import Delivery
from dynamo_fe.pipeline.delta import Piece, Usage
from dynamo_fe.pipeline.ends import note_end
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.tensor_deliver import TensorDelivery
from dynamo_fe.pipeline.text_deliver import TextDelivery
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.errors import RequestError


def _nobody(pieces: list[Piece]) -> None:
    """Takes what comes after the end."""


class WorkerCall:
    """A worker request and its sink. `ended` is done, with the failure or None, when nothing more comes."""

    def __init__(self, services: KserveServices, meter: KserveMeter, on_pieces: Callable[[list[Piece]], None]) -> None:
        self._services = services
        self._meter = meter
        self._on_pieces = on_pieces
        self._begun = False
        self._job: Job | None = None
        self.ended: asyncio.Future[RequestError | None] = asyncio.get_running_loop().create_future()

    async def start(self, prepared: Prepared, request_id: str, metadata: Mapping[str, str] | None) -> None:
        """Sends it. Raises RequestError when no worker takes it."""
        delivery: WorkerStream
        input_kind = prepared.model.card.model_input
        if input_kind == "Tensor":
            delivery = TensorDelivery(self)
        elif input_kind == "Text":
            delivery = TextDelivery(False, self)
        else:
            delivery = Delivery(prepared, self, self._meter.of_model, False)
        self._job = Job(request_id, prepared.body.model, prepared, delivery, metadata)
        await self._services.dispatcher.start(self._job)

    def on_deltas(self, pieces: list[Piece]) -> None:
        """Everything one wake-up brought (DeltaSink)."""
        job = self._job
        if not self._begun and job is not None:
            self._begun = True
            # text and tensor workers say nothing about tokens, and are not in those histograms
            if job.prepared.prompt_tokens:
                self._meter.first_token(job.prepared.prompt_tokens)
        self._on_pieces(pieces)

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        """The end of the worker request (DeltaSink)."""
        if self._job is not None and self._job.prepared.prompt_tokens:
            self._meter.answered(usage)
        self._resolve(error)

    def end(self, error: RequestError) -> None:
        """Ends it from outside, with an error that its client is told like any other."""
        if not self.ended.done() and error.deadline_stage is not None:
            self._services.metrics.deadline_misses.labels(error.deadline_stage).add()
        self.cancel()
        self._resolve(error)

    def finish(self) -> None:
        """Ends it with what came so far."""
        self.cancel()
        self._resolve(None)

    def cancel(self) -> None:
        """Tells the worker to stop, unless it has ended. Idempotent."""
        job = self._job
        if job is not None and not job.delivery.ended:
            job.cancel()

    def leave(self) -> None:
        """The end: cancels, and lets go of what holds this object, a cycle that would keep whole tensors alive until
        the garbage collector comes.
        """
        self.cancel()
        self._job = None
        self._on_pieces = _nobody

    def pause(self) -> None:
        """Stops reading the worker: the client does not read us."""
        if self._job is not None:
            self._job.delivery.pause()

    def resume(self) -> None:
        """Reads on."""
        if self._job is not None:
            self._job.delivery.resume()

    def _resolve(self, error: RequestError | None) -> None:
        if not self.ended.done():
            if self._job is not None:
                note_end(self._job.request_id, error)
            self.ended.set_result(error)
