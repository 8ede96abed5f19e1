"""`ModelStreamInfer`: requests read one at a time, the next one when the answers to the last are all sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from dynamo_fe.grpc.context import Metadata
from dynamo_fe.grpc.infer import Inference
from dynamo_fe.grpc.messages import ModelInferRequest
from dynamo_fe.grpc.methods import decoded
from dynamo_fe.grpc.outbox import Write
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import SHUTTING_DOWN, Code, Status

_LAST_WORD_SECS: Final = 0.2

# the next serialized message, None after the last
Read = Callable[[], Awaitable[bytes | None]]


class Streams:
    """One object a process."""

    def __init__(self, services: KserveServices, inference: Inference) -> None:
        self._services = services
        self._inference = inference

    async def serve(self, read: Read, metadata: Metadata, write: Write) -> None:
        """Answers until the client has no more requests. Raises Status, also for a stream that is idle when the process
        is to end.
        """
        stopping = asyncio.create_task(self._services.stopping.wait())
        try:
            while (serialized := await self._next(read, stopping)) is not None:
                request = decoded(ModelInferRequest, serialized)
                await self._inference.streamed(request, metadata, write)
        finally:
            stopping.cancel()

    async def _next(self, read: Read, stopping: asyncio.Task[bool]) -> bytes | None:
        reading = asyncio.ensure_future(read())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # a client that has said its last word may end well
                await asyncio.wait({reading}, timeout=_LAST_WORD_SECS)
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()
        raise Status(Code.UNAVAILABLE, SHUTTING_DOWN)
