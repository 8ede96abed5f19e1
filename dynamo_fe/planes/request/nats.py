"""Dynamo 1.6.1's NATS request plane: requests over a NATS server, answers over call-backs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dynamo_fe._cext.stream_codec import two_part
from dynamo_fe.planes.request.callback_plane import CallbackPlane
from dynamo_fe.planes.request.message import request_headers
from dynamo_fe.planes.request.nats_link import NatsLink, header_bytes
from dynamo_fe.planes.request.options import NatsPlaneOptions
from dynamo_fe.planes.request.stream import ResponseStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance


class NatsMessage(NamedTuple):
    """The two-part request alone, without the TCP plane's frame around it."""

    subject: str
    headers: dict[str, str]
    payload: bytes


def compose(
    instance: Instance, request_id: str, control: bytes, body: bytes, trace_headers: Mapping[str, str] | None
) -> NatsMessage:
    """The message of a request to an instance, whose subject is used as it stands in discovery."""
    return NatsMessage(instance.nats_subject, request_headers(request_id, trace_headers), two_part(control, body))


class NatsRequestPlane(CallbackPlane[NatsMessage, NatsLink]):
    """The acknowledgement is the reply to a NATS request; it may come after the first frames of the answer."""

    transport = "nats"

    def __init__(self, options: NatsPlaneOptions) -> None:
        """Raises ValueError for credentials that can never work."""
        super().__init__(options)
        self._options = options
        self._link = NatsLink(self._loop, options, self._replied, self._link_lost)

    async def start(self) -> None:
        """The server may be away: it is looked for as long as the plane lives."""
        await super().start()
        self._link.start()

    async def close(self) -> None:
        await super().close()
        await self._link.close()

    def stats(self) -> dict[str, int]:
        waiting = sum(not stream.acknowledged for stream in self._unstarted.values())
        return super().stats() | {
            "nats_connections": int(self._link.trouble is None),
            "unacknowledged_requests": waiting,
            "unwritten_bytes": self._link.unwritten_bytes,
        }

    def reasons(self) -> list[str]:
        trouble = self._link.trouble
        return [] if trouble is None else [f"NATS is not connected: {trouble}"]

    def _compose(
        self,
        instance: Instance,
        request_id: str,
        control: bytes,
        body: bytes,
        trace_headers: Mapping[str, str] | None,
    ) -> NatsMessage:
        message = compose(instance, request_id, control, body, trace_headers)
        if len(message.payload) > self._options.max_request_bytes:
            limit = self._options.max_request_bytes
            raise RequestError.too_large(f"request of {len(message.payload)} bytes is over the limit of {limit}")
        return message

    async def _way_to(self, instance: Instance, message: NatsMessage) -> NatsLink:
        await self._link.ready(len(message.payload) + header_bytes(message.headers))
        return self._link

    async def _send(self, way: NatsLink, message: NatsMessage, stream: ResponseStream) -> None:
        await way.publish(message.subject, stream.subject, message.headers, message.payload)

    def _replied(self, subject: str, text: bytes, nobody: bool) -> None:
        stream = self._streams.get(subject)
        if stream is None:
            return
        if nobody:
            instance = f"instance {stream.instance_id:x}"
            stream.fail(RequestError.cannot_connect(f"{instance} does not listen on its NATS subject"))
        else:
            stream.on_ack(text)

    def _link_lost(self, why: str) -> None:
        for stream in list(self._unstarted.values()):
            stream.on_request_lost(RequestError.broker_lost(f"NATS lost before the acknowledgement: {why}"))
