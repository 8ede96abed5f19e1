"""Dynamo 1.6.1's TCP request plane: requests over pooled connections, answers over call-backs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from dynamo_fe._cext.stream_codec import request_frame
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.planes.request.base import RequestPlane, StreamSink
from dynamo_fe.planes.request.callback import CallbackListener
from dynamo_fe.planes.request.message import CONTROL_LIMIT_BYTES, encode_control, encode_headers
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.pool import ConnectionPool
from dynamo_fe.planes.request.stream import ResponseStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance

log = logging.getLogger("dynamo_fe.planes")


class TcpRequestPlane(RequestPlane):
    """Must be made and used on one running loop."""

    def __init__(self, options: TcpPlaneOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._pool = ConnectionPool(self._loop, options)
        self._listener = CallbackListener(self._loop, options, self._find_unstarted)
        # by subject: those whose prologue has not come, and all that are not over
        self._unstarted: dict[str, ResponseStream] = {}
        self._streams: dict[str, ResponseStream] = {}
        self._ids = RandomIds()
        self._closed = False

    async def start(self) -> None:
        await self._listener.start()

    @property
    def callback_address(self) -> str:
        """`host:port` as workers are told."""
        return self._listener.address

    async def dispatch(
        self,
        instance: Instance,
        request_id: str,
        body: bytes,
        metadata: Mapping[str, str] | None,
        sink: StreamSink,
        trace_headers: Mapping[str, str] | None = None,
    ) -> ResponseStream:
        if instance.transport != "tcp":
            raise RequestError.cannot_connect(f"instance {instance.instance_id:x} is not on the TCP request plane")
        # random: who does not know it cannot answer in the worker's place
        subject = self._ids.uuid4()
        frame = self._frame(instance, request_id, subject, body, metadata, trace_headers)
        connection = await self._pool.host(instance.host, instance.port).acquire(len(frame))
        if self._closed:
            raise RequestError.cannot_connect("the request plane is closed")
        stream = ResponseStream(
            self._loop,
            self._options,
            subject,
            request_id,
            instance.instance_id,
            instance.codec,
            sink,
            self._started,
            self._ended,
        )
        # registered first: the call-back may come before the acknowledgement
        self._unstarted[subject] = self._streams[subject] = stream
        stream.sent()
        connection.send(frame, stream)
        return stream

    def instance_removed(self, instance_id: int) -> None:
        for stream in [stream for stream in self._unstarted.values() if stream.instance_id == instance_id]:
            text = f"instance {instance_id:x} left before it answered request {stream.request_id}"
            stream.fail(RequestError.instance_removed(text))

    async def close(self) -> None:
        self._closed = True
        for stream in list(self._streams.values()):
            stream.fail(RequestError.instance_removed("the request plane is closing"))
        self._listener.close()
        self._pool.close()

    def stats(self) -> dict[str, int]:
        called_back = sum(stream.called_back for stream in self._unstarted.values())
        return {
            "streams": len(self._streams),
            "streams_awaiting_callback": len(self._unstarted) - called_back,
            "streams_awaiting_prologue": called_back,
            "callbacks_without_handshake": self._listener.stranger_count,
            "callbacks_refused_total": self._listener.refused_total,
            **self._pool.stats(),
        }

    def _frame(
        self,
        instance: Instance,
        request_id: str,
        subject: str,
        body: bytes,
        metadata: Mapping[str, str] | None,
        trace_headers: Mapping[str, str] | None,
    ) -> bytes:
        control = encode_control(request_id, instance.codec, self._listener.address, subject, metadata)
        if len(control) > CONTROL_LIMIT_BYTES:
            raise RequestError.too_large(f"control message of {len(control)} bytes is over {CONTROL_LIMIT_BYTES}")
        headers = encode_headers(instance.path, request_id, trace_headers)
        try:
            frame = request_frame(instance.path.encode(), headers, control, body)
        except ValueError as error:
            raise RequestError.too_large(str(error)) from None
        if len(frame) > self._options.max_request_bytes:
            limit = self._options.max_request_bytes
            raise RequestError.too_large(f"request frame of {len(frame)} bytes is over the limit of {limit}")
        return frame

    def _find_unstarted(self, subject: str) -> ResponseStream | None:
        return self._unstarted.get(subject)

    def _started(self, stream: ResponseStream) -> None:
        self._unstarted.pop(stream.subject, None)

    def _ended(self, stream: ResponseStream) -> None:
        self._unstarted.pop(stream.subject, None)
        self._streams.pop(stream.subject, None)
