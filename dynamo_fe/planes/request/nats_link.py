"""One connection to a NATS server, made anew for ever when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from dynamo_fe.planes.request.options import NatsPlaneOptions
from dynamo_fe.planes.tls import reason_of
from dynamo_fe.protocol.errors import RequestError

log = logging.getLogger("dynamo_fe.planes")

FIRST_PAUSE_SECS = 0.1
LONGEST_PAUSE_SECS = 5.0
# a server that has gone without a word is noticed after two of these
PING_SECS = 10
CLOSE_SECS = 1.0
# what the original says when no credentials are set; a server without authorization takes it
DEFAULT_USER = "user"
_HEADER_LINE_BYTES = len(b"NATS/1.0\r\n")
_NO_RESPONDERS = "503"

OnReply = Callable[[str, bytes, bool], None]


class NatsLink:
    """Publishes requests and hears the replies of all of them on one inbox.

    `on_reply` is told the token of a request, the reply's text and whether it says that nobody listens there; `on_lost`
    that the replies to what was sent may never come. nats-py's own reconnecting is not used: it keeps what is published
    meanwhile, gives up for good on some errors, and goes back to plain text if the server says so.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: NatsPlaneOptions,
        on_reply: OnReply,
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._on_reply = on_reply
        self._on_lost = on_lost
        check_servers(options.servers)
        self._login = credentials(options)
        self._inbox = ""
        self._client: _Client | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = "not connected yet"

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

    @property
    def unwritten_bytes(self) -> int:
        return self._client.pending_data_size if self._client is not None else 0

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
        if waiting and waiting + message_bytes > self._options.write_buffer_bytes:
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

    async def _run(self) -> None:
        pause_secs = FIRST_PAUSE_SECS
        while True:
            client = _Client(self._options.connect_tls is not None)
            try:
                await self._connect(client)
                pause_secs = FIRST_PAUSE_SECS
                await client.over.wait()
                self._lost(client.trouble or "the server closed the connection")
            except (OSError, TimeoutError, nats_errors.Error, ValueError) as error:
                self._lost(client.trouble or reason_of(error))
            finally:
                self._client = None
                self._connected.clear()
                await client.dispose()
            await asyncio.sleep(pause_secs)
            pause_secs = min(pause_secs * 2, LONGEST_PAUSE_SECS)

    async def _connect(self, client: _Client) -> None:
        """Raises what connecting raises; the client's `trouble` is clearer where it is set."""
        async with asyncio.timeout(self._options.connect_timeout_secs):
            await client.connect(
                list(self._options.servers),
                allow_reconnect=False,
                # nats-py tries a server twice with this; 0 and less would mean for ever
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, round(self._options.connect_timeout_secs)),
                ping_interval=PING_SECS,
                # nothing is kept for a connection that is not there, and no publish waits
                pending_size=0,
                tls=self._options.connect_tls,
                error_cb=client.note,
                name="dynamo-fe",
                **self._login,
            )
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=self._replied, pending_msgs_limit=0, pending_bytes_limit=0)
        client.trouble = None
        self._client = client
        self._connected.set()
        log.info("connected to NATS at %s", client.server)

    def _lost(self, why: str) -> None:
        had, self._client = self._client is not None, None
        if had or why != self._trouble:
            log.warning("%s NATS: %s; trying again", "lost" if had else "cannot connect to", why)
        self._trouble = why
        if had:
            self._on_lost(why)

    async def _replied(self, message: Msg) -> None:
        nobody = message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS
        self._on_reply(message.subject.rpartition(".")[2], message.data, nobody)


class _Client(Client):
    """nats-py's client that says why it ended, and does not go on in plain text where TLS is wanted."""

    def __init__(self, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls = wants_tls
        self.over = asyncio.Event()
        self.trouble: str | None = None

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


def check_servers(servers: tuple[str, ...]) -> None:
    """Raises ValueError for a URL that no NATS server can have."""
    for server in servers:
        url = urlsplit(server if "://" in server else f"nats://{server}")
        if url.scheme not in ("nats", "tls"):
            raise ValueError(f"NATS server {url.scheme}://...: the scheme is neither nats nor tls")
        try:
            named = url.hostname is not None and url.port != 0
        except ValueError:
            named = False
        if not named:
            raise ValueError("NATS server: a URL without host, or with a port that is none")


def credentials(options: NatsPlaneOptions) -> dict[str, Any]:
    """nats-py's words for the first way in that is set. Raises ValueError for one that can never work."""
    if options.username is not None and options.password is not None:
        return {"user": options.username, "password": options.password}
    if options.token is not None:
        return {"token": options.token}
    if options.nkey_seed is not None:
        _check_seed(options.nkey_seed)
        return {"nkeys_seed_str": options.nkey_seed}
    if options.credentials_file is not None:
        try:
            with open(options.credentials_file, "rb") as file:
                text = file.read()
        except OSError as error:
            raise ValueError(f"NATS credentials file {options.credentials_file}: {error.strerror}") from None
        if b"BEGIN NATS USER JWT" not in text or b"BEGIN USER NKEY SEED" not in text:
            raise ValueError(f"NATS credentials file {options.credentials_file} holds no user JWT and NKey seed")
        return {"user_credentials": options.credentials_file}
    if any(urlsplit(server).username for server in options.servers):
        return {}
    return {"user": DEFAULT_USER, "password": DEFAULT_USER}


def _check_seed(seed: str) -> None:
    import nkeys

    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        raise ValueError(f"NATS_AUTH_NKEY holds no NKey seed: {error}") from None


def header_bytes(headers: Mapping[str, str]) -> int:
    """What headers add to a message, counted in the server's max_payload."""
    lines = sum(len(name) + len(value.encode()) + len(": \r\n") for name, value in headers.items())
    return _HEADER_LINE_BYTES + lines + len(b"\r\n")
