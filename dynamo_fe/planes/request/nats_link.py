"""The request plane's connection to a NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from nats import errors as nats_errors
from nats.aio.msg import Msg

from dynamo_fe.planes.nats_connection import NatsClient, NatsConnection
from dynamo_fe.planes.request.options import NatsPlaneOptions
from dynamo_fe.protocol.errors import RequestError

_HEADER_LINE_BYTES = len(b"NATS/1.0\r\n")
_NO_RESPONDERS = "503"

OnReply = Callable[[str, bytes, bool], None]


class NatsLink(NatsConnection):
    """Publishes requests and hears the replies of all of them on one inbox.

    `on_reply` is told the token of a request, the reply's text and whether it says that nobody listens there; `on_lost`
    that the replies to what was sent may never come.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: NatsPlaneOptions,
        on_reply: OnReply,
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(loop, options)
        self._write_buffer_bytes = options.write_buffer_bytes
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._inbox = ""
        self._connected = asyncio.Event()

    async def ready(self, message_bytes: int) -> None:
        """Waits for a connection that takes a message of that size, its headers included. Raises RequestError."""
        if self._client is None:
            limit = self._options.connect_timeout_secs
            try:
                async with asyncio.timeout(limit):
                    await self._connected.wait()
            except TimeoutError:
                raise RequestError.broker_lost(f"no NATS server: {self._trouble}", timed_out=True) from None
        client = self._client
        if client is None:
            raise RequestError.broker_lost(f"no NATS server: {self._trouble}")
        if message_bytes > client.max_payload:
            text = f"message of {message_bytes} bytes is over the NATS server's max_payload of {client.max_payload}"
            raise RequestError.too_large(text)
        waiting = client.pending_data_size
        if waiting and waiting + message_bytes > self._write_buffer_bytes:
            raise RequestError.exhausted(f"{waiting} bytes already wait to be written to the NATS server")

    async def publish(self, subject: str, token: str, headers: Mapping[str, str], payload: bytes) -> None:
        """Sends a request whose reply will bear `token`. Raises RequestError if it was not sent."""
        client = self._client
        if client is None:
            raise RequestError.broker_lost(f"no NATS server: {self._trouble}")
        try:
            await client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=dict(headers))
        except nats_errors.Error as error:
            raise RequestError.broker_lost(f"not sent: {error}") from None

    async def _opened(self, client: NatsClient) -> None:
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._replied, pending_msgs_limit=0, pending_bytes_limit=0)

    def _up(self) -> None:
        self._connected.set()

    def _down(self, why: str) -> None:
        self._connected.clear()
        self._on_lost(why)

    async def _replied(self, message: Msg) -> None:
        nobody = message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS
        self._on_reply(message.subject.rpartition(".")[2], message.data, nobody)


def header_bytes(headers: Mapping[str, str]) -> int:
    """What headers add to a message, counted in the server's max_payload."""
    lines = sum(len(name) + len(value.encode()) + len(": \r\n") for name, value in headers.items())
    return _HEADER_LINE_BYTES + lines + len(b"\r\n")
