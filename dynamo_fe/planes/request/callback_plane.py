"""What the request planes share: a worker answers over a TCP call-back, whichever way its request came."""

from __future__ import annotations

import abc
import asyncio
import ipaddress
from collections.abc import Mapping
from typing import ClassVar, Final, Generic, TypeVar

from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.planes.request.base import RequestPlane, StreamSink
from dynamo_fe.planes.request.callback import CallbackListener
from dynamo_fe.planes.request.message import CONTROL_LIMIT_BYTES, encode_control
from dynamo_fe.planes.request.options import PlaneOptions
from dynamo_fe.planes.request.stream import ResponseStream, phase_alarms
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance

# how late we may be with the end of a stream before it counts as past its deadline
_TOLERANCE_SECS: Final = 1.0

Message = TypeVar("Message")
Way = TypeVar("Way")


class CallbackPlane(RequestPlane, Generic[Message, Way]):
    """The streams of a process by subject, and the listener that workers call back to.

    A plane says how a request is put into a `Message`, which `Way` there is to its instance, and how it is sent. Must
    be made and used on one running loop.
    """

    transport: ClassVar[str]

    def __init__(self, options: PlaneOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._plane_options = options
        self._listener = CallbackListener(self._loop, options, self._find_unstarted, self._call_back_failed)
        # by subject: those whose prologue has not come, and all that are not over
        self._unstarted: dict[str, ResponseStream] = {}
        self._streams: dict[str, ResponseStream] = {}
        # instances that have called back: their TLS and ours fit
        self._proven: set[int] = set()
        self._ids = RandomIds()
        self._alarms = phase_alarms(self._loop, options)
        self._closed = False

    @abc.abstractmethod
    def _compose(
        self,
        instance: Instance,
        request_id: str,
        control: bytes,
        body: bytes,
        trace_headers: Mapping[str, str] | None,
    ) -> Message:
        """The request as it travels. Raises RequestError if it is too large."""

    @abc.abstractmethod
    async def _way_to(self, instance: Instance, message: Message) -> Way:
        """Waits until the message can be sent. Raises RequestError if it cannot, or not in time."""

    @abc.abstractmethod
    async def _send(self, way: Way, message: Message, stream: ResponseStream) -> None:
        """Raises RequestError if nothing was sent."""

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
        if instance.transport != self.transport:
            raise RequestError.cannot_connect(
                f"instance {instance.instance_id:x} is not on the {self.transport.upper()} request plane"
            )
        # random: who does not know it cannot answer in the worker's place
        subject = self._ids.uuid4()
        control = encode_control(request_id, instance.codec, self._listener.address, subject, metadata)
        if len(control) > CONTROL_LIMIT_BYTES:
            raise RequestError.too_large(f"control message of {len(control)} bytes is over {CONTROL_LIMIT_BYTES}")
        message = self._compose(instance, request_id, control, body, trace_headers)
        way = await self._way_to(instance, message)
        if self._closed:
            raise RequestError.cannot_connect("the request plane is closed")
        stream = ResponseStream(
            self._loop,
            self._plane_options.max_frame_bytes,
            self._alarms,
            subject,
            request_id,
            instance,
            sink,
            self._started,
            self._ended,
        )
        # registered first: the call-back may come before the acknowledgement
        self._unstarted[subject] = self._streams[subject] = stream
        stream.sent()
        try:
            await self._send(way, message, stream)
        except RequestError:
            stream.cancel()
            raise
        return stream

    def instance_removed(self, instance_id: int) -> None:
        self._proven.discard(instance_id)
        for stream in [stream for stream in self._unstarted.values() if stream.instance_id == instance_id]:
            text = f"instance {instance_id:x} left before it answered request {stream.request_id}"
            stream.fail(RequestError.instance_removed(text))

    async def close(self) -> None:
        self._closed = True
        for stream in list(self._streams.values()):
            stream.fail(RequestError.instance_removed("the request plane is closing"))
        self._listener.close()
        for alarms in self._alarms:
            alarms.close()

    def stats(self) -> dict[str, int]:
        called_back = sum(stream.called_back for stream in self._unstarted.values())
        return {
            "streams": len(self._streams),
            "streams_awaiting_callback": len(self._unstarted) - called_back,
            "streams_awaiting_prologue": called_back,
            "streams_past_deadline": sum(stream.is_late(_TOLERANCE_SECS) for stream in self._streams.values()),
            "streams_paused": sum(stream.paused for stream in self._streams.values()),
            "callbacks_without_handshake": self._listener.stranger_count,
            "callbacks_refused_total": self._listener.refused_total,
        }

    def _find_unstarted(self, subject: str) -> ResponseStream | None:
        return self._unstarted.get(subject)

    def _started(self, stream: ResponseStream) -> None:
        self._unstarted.pop(stream.subject, None)
        self._proven.add(stream.instance_id)

    def _ended(self, stream: ResponseStream) -> None:
        self._unstarted.pop(stream.subject, None)
        self._streams.pop(stream.subject, None)

    def _call_back_failed(self, peer: str, why: str) -> None:
        """A worker at `peer` could not call back for TLS, and does not try again: no answer will come.

        It could not say for which request. Those sent to instances there that have never called back yet cannot be
        answered; if all have, then something changed, and the longest waiting one is it.
        """
        waiting = [
            stream for stream in self._unstarted.values() if not stream.called_back and _may_be(stream.host, peer)
        ]
        unproven = [stream for stream in waiting if stream.instance_id not in self._proven]
        for stream in unproven or waiting[:1]:
            stream.fail(RequestError.disconnected(f"the worker's call-back from {peer} failed: {why}"))


def _may_be(host: str, peer: str) -> bool:
    """False only if both are addresses and differ."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(peer)
    except ValueError:
        return True
