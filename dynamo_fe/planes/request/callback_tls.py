"""TLS at the call-back port: connections are accepted and secured one by one, so that a failure tells whose it is."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from dynamo_fe.planes.request.options import PlaneOptions
from dynamo_fe.planes.tls import reason_of

log = logging.getLogger("dynamo_fe.planes")

# a peer that does not answer our close of TLS is not waited for longer
SHUTDOWN_SECS = 1.0
# after an accept that failed, as for want of file descriptors
PAUSE_SECS = 0.1


class TlsDoor:
    """Takes over a listening socket. A secured connection gets the protocol that `greeter` makes; `failed` hears of
    each peer whose TLS does not fit ours: its address and why. `limit` bounds the handshakes under way.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: PlaneOptions,
        greeter: Callable[[], asyncio.Protocol],
        failed: Callable[[str, str], None],
        limit: int,
    ) -> None:
        self._loop = loop
        self._context = options.listen_tls
        self._timeout_secs = options.tls_handshake_timeout_secs
        self._greeter = greeter
        self._failed = failed
        self._limit = limit
        self._accepting: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def open(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept(listener), name="call-backs")

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        for task in self._under_way:
            task.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    connection, address = await self._loop.sock_accept(listener)
                except OSError as error:
                    log.warning("a call-back could not be accepted: %s", error)
                    await asyncio.sleep(PAUSE_SECS)
                    continue
                if len(self._under_way) >= self._limit:
                    connection.close()
                    continue
                task = self._loop.create_task(self._secure(connection, str(address[0])))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _secure(self, connection: socket.socket, peer: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._greeter,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._timeout_secs,
                ssl_shutdown_timeout=SHUTDOWN_SECS,
            )
        except (ssl.SSLError, ConnectionResetError) as error:
            # not every client says by an alert why it goes
            self._failed(peer, reason_of(error))
        except OSError as error:
            log.info("a connection from %s did not get through its TLS handshake: %s", peer, error)
