"""A connection to a NATS server, made anew for ever when it is lost."""

from __future__ import annotations

import abc
import asyncio
import logging
import time
from typing import Any

from nats import errors as nats_errors
from nats.aio.client import Client

from dynamo_fe.planes.nats_login import NatsOptions, check_servers, credentials, place_of
from dynamo_fe.planes.tls import reason_of

log = logging.getLogger("dynamo_fe.planes")

FIRST_PAUSE_SECS = 0.1
LONGEST_PAUSE_SECS = 5.0
# a server that has gone without a word is noticed after two of these
PING_SECS = 10
CLOSE_SECS = 1.0


class NatsConnection(abc.ABC):
    """nats-py's own reconnecting is not used: it keeps what is published meanwhile, gives up for good on some errors,
    and goes back to plain text if the server says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: NatsOptions) -> None:
        """Raises ValueError for servers or credentials that can never work."""
        self._loop = loop
        self._options = options
        check_servers(options.servers)
        self._login = credentials(options)
        self._client: NatsClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = "not connected yet"
        self._stood = False
        self._down_since = time.time()

    def start(self) -> None:
        self._task = self._loop.create_task(self._run(), name="nats")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None while there is one."""
        return None if self._client is not None else self._trouble

    def outage(self) -> str | None:
        """Which servers are missed, since when, and why; None while there is a connection."""
        if self._client is not None:
            return None
        places = ", ".join(f"nats://{place_of(server)}" for server in self._options.servers)
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._down_since))
        what = f"connection to {places} lost" if self._stood else f"no connection to {places}"
        return f"{what} since {since}: {self._trouble}"

    @property
    def unwritten_bytes(self) -> int:
        return self._client.pending_data_size if self._client is not None else 0

    @abc.abstractmethod
    async def _opened(self, client: NatsClient) -> None:
        """Makes the subscriptions of a new connection; what it raises ends that connection."""

    @abc.abstractmethod
    def _up(self) -> None:
        """The connection stands."""

    @abc.abstractmethod
    def _down(self, why: str) -> None:
        """A connection that stood is lost."""

    async def _run(self) -> None:
        pause_secs = FIRST_PAUSE_SECS
        while True:
            client = NatsClient(self._options.connect_tls is not None)
            try:
                await self._connect(client)
                pause_secs = FIRST_PAUSE_SECS
                await client.over.wait()
                self._lost(client.trouble or "the server closed the connection")
            except (OSError, TimeoutError, nats_errors.Error, ValueError) as error:
                self._lost(client.trouble or reason_of(error))
            finally:
                self._client = None
                await client.dispose()
            await asyncio.sleep(pause_secs)
            pause_secs = min(pause_secs * 2, LONGEST_PAUSE_SECS)

    async def _connect(self, client: NatsClient) -> None:
        """Raises what connecting raises; the client's `trouble` is clearer where it is set."""
        async with asyncio.timeout(self._options.connect_timeout_secs):
            await client.open(self._options, self._login)
            await self._opened(client)
        client.trouble = None
        self._client = client
        self._stood = True
        log.info("connected to NATS at %s", client.server)
        self._up()

    def _lost(self, why: str) -> None:
        had, self._client = self._client is not None, None
        if had or why != self._trouble:
            log.warning("%s NATS: %s; trying again", "lost" if had else "cannot connect to", why)
        self._trouble = why
        if had:
            self._down_since = time.time()
            self._down(why)


async def connection_trouble(options: NatsOptions) -> str | None:
    """Why nobody is let in there, None where somebody is, who leaves at once. Raises ValueError as NatsConnection."""
    check_servers(options.servers)
    login = credentials(options)
    client = NatsClient(options.connect_tls is not None)
    try:
        async with asyncio.timeout(options.connect_timeout_secs):
            await client.open(options, login)
    except (OSError, TimeoutError, nats_errors.Error, ValueError) as error:
        return client.trouble or str(error) or "no answer"
    finally:
        await client.dispose()
    return None


class NatsClient(Client):
    """nats-py's client that says why it ended, and does not go on in plain text where TLS is wanted."""

    def __init__(self, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls = wants_tls
        self.over = asyncio.Event()
        self.trouble: str | None = None

    async def open(self, options: NatsOptions, login: dict[str, Any]) -> None:
        """Connects to the first server that will. Raises what nats-py raises; `trouble` is clearer where it is set."""
        await self.connect(
            list(options.servers),
            allow_reconnect=False,
            # nats-py tries a server twice with this; 0 and less would mean for ever
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=max(1, round(options.connect_timeout_secs)),
            ping_interval=PING_SECS,
            # nothing is kept for a connection that is not there, and no publish waits
            pending_size=0,
            tls=options.connect_tls,
            error_cb=self.note,
            name="dynamo-fe",
            **login,
        )

    @property
    def server(self) -> str:
        url = self.connected_url
        return f"{url.hostname}:{url.port}" if url is not None else "?"

    async def note(self, error: Exception) -> None:
        self.trouble = reason_of(error)
        if self.is_connected:
            log.warning("NATS: %s", self.trouble)

    async def dispose(self) -> None:
        """Closes within a time; a server that takes nothing any more would hold up nats-py for ever."""
        try:
            async with asyncio.timeout(CLOSE_SECS):
                await self.close()
        except (OSError, TimeoutError, nats_errors.Error) as error:
            log.debug("NATS connection not closed in order: %s", error)
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if self.last_error is not None:
            self.trouble = reason_of(self.last_error)
        self.over.set()
        await super()._close(status, do_cbs)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._wants_tls:
            if not (info.get("tls_required") or info.get("tls_available")):
                self.trouble = "the server offers no TLS"
                raise nats_errors.Error(self.trouble)
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)
