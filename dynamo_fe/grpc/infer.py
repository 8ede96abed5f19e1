"""`ModelInfer`, and each request of `ModelStreamInfer`: from the message to a worker and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from dynamo_fe.grpc.asked import Asked, Shape
from dynamo_fe.grpc.choosing import COMPLETIONS, TENSOR, kind_of, model_for
from dynamo_fe.grpc.completion_request import read_completion
from dynamo_fe.grpc.context import Metadata, context_id, context_metadata
from dynamo_fe.grpc.folding import Folder, TensorFolder, TextFolder
from dynamo_fe.grpc.meter import KserveMeter, count_overload, count_unavailable
from dynamo_fe.grpc.outbox import Outbox, Write
from dynamo_fe.grpc.sampling import completion_request, read_sampling
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import (
    OVERLOADED,
    SHUTTING_DOWN,
    UNAVAILABLE_NOW,
    Code,
    Status,
    failed_dispatch,
    failed_folding,
    spoken,
)
from dynamo_fe.grpc.tensor_request import read_tensors
from dynamo_fe.grpc.worker_call import WorkerCall
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.delta import Piece
from dynamo_fe.pipeline.lifetimes import Lifetime
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.tensor_request import tensor_prepared
from dynamo_fe.pipeline.text_request import text_prepared
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker_request import TextRequest

_NOT_HERE: Final = "Streaming is not supported for this endpoint"
_GENERATED: Final = {COMPLETIONS: "completions", TENSOR: "tensor response stream"}
_FINAL_WANTED: Final = "triton_enable_empty_final_response"


class Inference:
    """The two ways to be asked; one object a process."""

    def __init__(self, services: KserveServices) -> None:
        self._services = services
        self._prefix = services.settings.metadata_header
        self._most_bytes = services.settings.stream_buffer_bytes
        self._stalled_secs = services.settings.stalled_reader_timeout_secs

    async def unary(self, request: Any, metadata: Metadata) -> bytes:
        """The one answer to a `ModelInferRequest`, serialized. Raises Status."""
        context = context_metadata(metadata, self._prefix)
        asked = self._read(request, on_stream=False)
        folder = TensorFolder(asked) if asked.kind == TENSOR else TextFolder(asked)
        return await self._folded(asked, context, folder)

    async def streamed(
        self, request: Any, metadata: Metadata, write: Write, early_failure_ends: bool = False
    ) -> None:
        """All answers to one request of a stream, each serialized. Raises Status where it ends the stream; with
        `early_failure_ends` a worker's failure before its first piece does, too.
        """
        context = context_metadata(metadata, self._prefix)
        asked = self._read(request, on_stream=True)
        if asked.streaming:
            await self._pieces(asked, context, write, early_failure_ends)
        else:
            await write(await self._folded(asked, context, TextFolder(asked)))
        if asked.shape.marked and not asked.shape.final_said:
            await write(asked.shape.final(asked.name))

    def _read(self, request: Any, on_stream: bool) -> Asked:
        """Raises Status for what cannot be read, or is asked in the wrong way."""
        services = self._services
        kind = kind_of(services, request.model_name)
        sampling: dict[str, Any] = {}
        body: Any
        if kind == TENSOR:
            streaming, body = on_stream, read_tensors(request)
        else:
            body, streaming = read_completion(request)
            if streaming and not on_stream:
                raise Status(Code.INVALID_ARGUMENT, _NOT_HERE)
            sampling = {} if services.strict else read_sampling(request.parameters)
        final_wanted = on_stream and not services.strict and _flag(request.parameters, _FINAL_WANTED)
        shape = Shape(request.id, on_stream, bool(request.raw_input_contents), final_wanted, sampling.get("n", 1) != 1)
        return Asked(kind, request.model_name, streaming, body, sampling, shape)

    async def _folded(self, asked: Asked, context: Mapping[str, str] | None, folder: Folder) -> bytes:
        """Raises Status."""
        call, meter, prepared, lifetime = await self._begin(asked, folder.add)
        folder.call = call
        try:
            await self._send(asked, call, meter, prepared, context)
            error = await call.ended
            if error is not None:
                meter.worker_failed(error)
                raise failed_folding(error, self._services.strict)
            answer = folder.whole(meter)
            meter.succeeded()
            return answer
        except asyncio.CancelledError:
            meter.client_left()
            raise
        finally:
            folder.call = None
            self._leave(call, lifetime)

    async def _pieces(
        self, asked: Asked, context: Mapping[str, str] | None, write: Write, early_failure_ends: bool
    ) -> None:
        """Raises Status when no worker takes the request; a failure after that is an answer, see `streamed`."""
        outbox = Outbox(self._most_bytes, write, lambda: call.pause(), lambda: call.resume(), self._stalled_secs)
        call, meter, prepared, lifetime = await self._begin(asked, lambda pieces: outbox.put(asked.messages(pieces)))
        lifetime.buffered_bytes = lambda: outbox.held_bytes
        call.ended.add_done_callback(lambda _: outbox.close())
        try:
            await self._send(asked, call, meter, prepared, context)
            await outbox.emptied()
            error = call.ended.result()
            if error is not None and early_failure_ends and not outbox.used:
                meter.worker_failed(error)
                raise failed_folding(error, self._services.strict)
            if error is not None:
                await write(asked.shape.error(spoken(error)))
            meter.succeeded()
        except asyncio.CancelledError:
            meter.client_left()
            raise
        finally:
            self._leave(call, lifetime)

    def _leave(self, call: WorkerCall, lifetime: Lifetime) -> None:
        call.leave()
        self._services.lifetimes.leave(lifetime)
        lifetime.buffered_bytes = int

    async def _begin(
        self, asked: Asked, on_pieces: Callable[[list[Piece]], None]
    ) -> tuple[WorkerCall, KserveMeter, Prepared, Lifetime]:
        """Lets a request in. Raises Status when it is not."""
        services = self._services
        if services.stopping.is_set():
            raise Status(Code.UNAVAILABLE, SHUTTING_DOWN)
        await services.registry.loaded(asked.name)
        try:
            model = model_for(services, asked.name, asked.kind)
        except Status:
            count_unavailable(services.metrics, asked.name, asked.kind, asked.streaming)
            raise
        prepared = await self._prepare(asked, model)
        task = asyncio.current_task()
        assert task is not None
        try:
            services.dispatcher.check_room(asked.name)
            lifetime = services.lifetimes.enter(lambda error: call.end(error))
        except Refusal as error:
            count_overload(services.metrics, asked.name, asked.kind)
            raise Status(Code.RESOURCE_EXHAUSTED, OVERLOADED) from error

        def abandon(error: RequestError) -> None:
            task.cancel()

        lifetime.abandon = abandon
        meter = KserveMeter(services.metrics, services.statistics, asked.name, asked.kind, asked.streaming)
        call = WorkerCall(services, meter, on_pieces)
        return call, meter, prepared, lifetime

    async def _prepare(self, asked: Asked, model: ServedModel) -> Prepared:
        """Raises Status for what a client's settings or prompt must not be."""
        if asked.kind == TENSOR:
            return tensor_prepared(asked.body, model)
        request = completion_request(asked.name, asked.body, asked.shape.request_id, asked.sampling)
        try:
            if asked.sampling:
                # an empty prompt is no fault here
                self._services.check(msgspec.structs.replace(request, prompt=asked.body or "-"))
            if model.card.model_input == "Text":
                prepared = text_prepared(request, asked.body, model)
                assert isinstance(prepared.body, TextRequest)
                prepared.body.fields["model"] = asked.name
            else:
                prepared = await self._services.preparer.completion(request, asked.body, model)
        except RequestError as error:
            raise Status(Code.INVALID_ARGUMENT, error.public or error.message) from error
        prepared.body.model = asked.name
        return prepared

    async def _send(
        self,
        asked: Asked,
        call: WorkerCall,
        meter: KserveMeter,
        prepared: Prepared,
        context: Mapping[str, str] | None,
    ) -> None:
        """Raises Status when no worker takes it."""
        request_id = context_id(asked.shape.request_id) or self._services.ids.uuid4()
        try:
            await call.start(prepared, request_id, context)
        except Refusal as error:
            meter.worker_failed(error)
            if error.error_class == "InvalidRequest":
                raise Status(Code.INVALID_ARGUMENT, error.message) from error
            raise Status(Code.UNAVAILABLE, UNAVAILABLE_NOW) from error
        except RequestError as error:
            meter.worker_failed(error)
            raise failed_dispatch(error, _GENERATED[asked.kind], self._services.strict) from error


def _flag(parameters: Any, name: str) -> bool:
    return name in parameters and bool(parameters[name].bool_param)
