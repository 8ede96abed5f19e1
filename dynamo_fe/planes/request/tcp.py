"""Dynamo 1.6.1's TCP request plane: requests over pooled connections, answers over call-backs."""

from __future__ import annotations

from collections.abc import Mapping

from dynamo_fe._cext.stream_codec import request_frame
from dynamo_fe.planes.request.callback_plane import CallbackPlane
from dynamo_fe.planes.request.message import encode_headers
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.pool import ConnectionPool, RequestConnection
from dynamo_fe.planes.request.stream import ResponseStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance


class TcpRequestPlane(CallbackPlane[bytes, RequestConnection]):
    """A message is a request frame, the way to an instance a connection with room for it."""

    transport = "tcp"

    def __init__(self, options: TcpPlaneOptions) -> None:
        super().__init__(options)
        self._options = options
        self._pool = ConnectionPool(self._loop, options)

    async def close(self) -> None:
        await super().close()
        self._pool.close()

    def stats(self) -> dict[str, int]:
        return super().stats() | self._pool.stats()

    def reasons(self) -> list[str]:
        return []

    def _compose(
        self,
        instance: Instance,
        request_id: str,
        control: bytes,
        body: bytes,
        trace_headers: Mapping[str, str] | None,
    ) -> bytes:
        headers = encode_headers(instance.path, request_id, trace_headers)
        try:
            frame = request_frame(instance.path.encode(), headers, control, body)
        except ValueError as error:
            raise RequestError.too_large(str(error)) from None
        if len(frame) > self._options.max_request_bytes:
            limit = self._options.max_request_bytes
            raise RequestError.too_large(f"request frame of {len(frame)} bytes is over the limit of {limit}")
        return frame

    async def _way_to(self, instance: Instance, message: bytes) -> RequestConnection:
        return await self._pool.host(instance.host, instance.port).acquire(len(message))

    async def _send(self, way: RequestConnection, message: bytes, stream: ResponseStream) -> None:
        way.send(message, stream)
