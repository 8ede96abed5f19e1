"""Granian's embeddable server on a socket that somebody else has opened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Any, Final, NamedTuple

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server

from dynamo_fe.config.settings import Settings
from dynamo_fe.http.app import App
from dynamo_fe.http.connections import Connections, Limits

# how often, and for how long, it is looked whether the socket was taken over: some kernels do not tell
_LOOK_SECS: Final = 0.001
_MOST_LOOKS: Final = 1000
# Granian warns at every start that this server is experimental, which is why its version is pinned.
_QUIET = ("_granian", "granian.access")


class HttpTls(NamedTuple):
    """Paths of PEM files. With `client_authority` only clients with a certificate by it are let in."""

    certificate: Path
    key: Path
    client_authority: Path | None

    @classmethod
    def of(cls, settings: Settings) -> HttpTls | None:
        """None: plain HTTP."""
        if settings.tls_cert_path is None or settings.tls_key_path is None:
            return None
        authority = settings.tls_client_ca_cert_path
        return cls(Path(settings.tls_cert_path), Path(settings.tls_key_path), Path(authority) if authority else None)


class HttpServer:
    """Serves the application in the running loop, and looks after its connections."""

    def __init__(self, app: App, listener: socket.socket, settings: Settings, connections: Connections) -> None:
        # the original's gRPC mode ignores the files
        tls = None if settings.grpc_only and settings.kserve_strict else HttpTls.of(settings)
        self._listener = listener
        self._port: int = listener.getsockname()[1]
        # Handed on to the connections. Without it the kernel keeps up to 2.5 MB of an answer that nobody reads.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, settings.stream_buffer_bytes)
        self._connections = connections
        self._server = _InheritedServer(
            app,
            listener,
            backlog=settings.http_backlog,
            backpressure=settings.max_connections,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto if settings.http2 else HTTPModes.http1,
            http1_settings=_http1(connections.limits),
            http2_settings=_http2(settings),
            websockets=False,
            log_enabled=False,
            log_level=LogLevels.error,
            ssl_cert=tls.certificate if tls is not None else None,
            ssl_key=tls.key if tls is not None else None,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_ca=tls.client_authority if tls is not None else None,
            ssl_client_verify=tls is not None and tls.client_authority is not None,
        )
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)

    async def run(self) -> None:
        """Serves until `stop`; open connections are given the time they need."""
        watching = asyncio.create_task(self._connections.watch(self._port), name="connections")
        try:
            await self._server.serve()
        finally:
            watching.cancel()

    async def accepting(self) -> None:
        """Returns once connections are accepted."""
        await self._server.started.wait()
        for _ in range(_MOST_LOOKS):
            if _is_polled(self._listener):
                return
            await asyncio.sleep(_LOOK_SECS)

    def stop_accepting(self) -> None:
        """Takes no more connections; those that are open are served on. The socket itself is left as it is, for others.
        Not before `accepting` has returned: Granian panics where it takes over a socket of another kind.

        Granian can only stop as a whole, and drops a connection whose first bytes have not come by then. So its
        descriptor is made to mean a socket that nobody connects to.
        """
        inode = os.fstat(self._listener.fileno()).st_ino
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
            deaf.setblocking(False)
            deaf.bind("")
            deaf.listen(1)
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                with contextlib.suppress(OSError):
                    if os.fstat(descriptor).st_ino == inode:
                        os.dup2(deaf.fileno(), descriptor, inheritable=False)

    def unheard(self) -> int:
        """Connections that were taken and have not said anything yet."""
        return self._connections.unheard(self._port)

    def hopeful(self) -> int:
        """Connections over which the next request may be on its way already."""
        return self._connections.hopeful(self._port)

    def stop(self) -> None:
        """Closes the listener; `run` returns when the last request has ended."""
        self._server.stop()  # type: ignore[no-untyped-call]


def _is_polled(listener: socket.socket) -> bool:
    """Whether a poller of this process waits for connections: Granian's runtime takes the socket over in a thread of
    its own and tells nobody."""
    entry = f" ino:{os.fstat(listener.fileno()).st_ino:x} "
    for descriptor in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(OSError):
            if entry in Path(f"/proc/self/fdinfo/{descriptor}").read_text():
                return True
    return False


class NoHttp:
    """Stands where the HTTP server would, in a process that has none."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`."""
        await self._stopped.wait()

    async def accepting(self) -> None:
        """At once."""

    def stop_accepting(self) -> None:
        """Nothing to do."""

    def unheard(self) -> int:
        """None."""
        return 0

    def hopeful(self) -> int:
        """None."""
        return 0

    def stop(self) -> None:
        """`run` returns."""
        self._stopped.set()


def _http1(limits: Limits) -> HTTP1Settings:
    """The server's own timer is for the whole head, from the end of the last answer on: only the outermost bound here,
    since it would cut a slow sender that progresses. `Connections` watches for silence."""
    return HTTP1Settings(header_read_timeout=int(limits.whole_head_secs * 1000))


def _http2(settings: Settings) -> HTTP2Settings:
    """What one connection may ask for. Pings find clients that have gone without a word."""
    return HTTP2Settings(
        keep_alive_interval=30_000,
        keep_alive_timeout=20,
        max_concurrent_streams=200,
        max_headers_size=256 << 10,
        max_send_buffer_size=settings.stream_buffer_bytes,
    )


class _InheritedServer(Server):
    """Takes the listening socket over instead of binding one. Granian closes the descriptor it is given, hence the
    copy: by its number, since a socket object that is copied sets anew whether the socket blocks, for all processes
    that have it, and Granian's thread in one that serves already then waits in `accept` for ever.
    """

    def __init__(self, app: App, listener: socket.socket, **options: Any) -> None:
        self._inherited = listener
        self.started = asyncio.Event()
        host, port = listener.getsockname()[:2]
        super().__init__(app, address=host, port=port, **options)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.started.set()

    def build_ssl_context(self, cert: Path | None, key: Path | None, *rest: Any) -> None:
        """With the paths as they are: those of files in memory lead nowhere when they are resolved."""
        if cert is None or key is None:
            super().build_ssl_context(cert, key, *rest)
            return
        password, least_protocol, authority, _, verifies = rest
        authority_path = None if authority is None else str(authority)
        files = (str(cert), str(key), password, str(least_protocol), authority_path)
        self.__dict__["ssl_ctx"] = (True, *files, [], verifies)

    def _init_shared_socket(self) -> None:
        descriptor = os.dup(self._inherited.fileno())
        # The attributes that the base class sets when it binds by itself; the stubs know neither them nor the
        # arguments.
        shared: dict[str, Any] = {"_ssp": None, "_sfd": descriptor}
        shared["_shd"] = SocketHolder(descriptor, False, self.backlog)  # type: ignore[call-arg]
        self.__dict__.update(shared)
