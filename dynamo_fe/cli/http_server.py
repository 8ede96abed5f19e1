"""Granian's embeddable server on a socket that somebody else has opened."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from dynamo_fe.http.app import App

# Granian warns at every start that this server is experimental, which is why its version is pinned.
_QUIET = ("_granian", "granian.access")


class HttpServer:
    """Serves the application in the running loop. `max_connections` bounds the open client connections."""

    def __init__(self, app: App, listener: socket.socket, backlog: int, max_connections: int) -> None:
        self._server = _InheritedServer(
            app,
            listener,
            backlog=backlog,
            backpressure=max_connections,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            log_level=LogLevels.error,
        )
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)

    async def run(self) -> None:
        """Serves until `stop`; open connections are given the time they need."""
        await self._server.serve()

    async def accepting(self) -> None:
        """Returns once connections are accepted."""
        await self._server.started.wait()
        await asyncio.sleep(0)  # the accepting task runs its first step

    def stop(self) -> None:
        """Closes the listener; `run` returns when the last request has ended."""
        self._server.stop()  # type: ignore[no-untyped-call]


class _InheritedServer(Server):
    """Takes the listening socket over instead of binding one. Granian closes the descriptor it is given, hence the
    copy.
    """

    def __init__(self, app: App, listener: socket.socket, **options: Any) -> None:
        self._inherited = listener
        self.started = asyncio.Event()
        host, port = listener.getsockname()[:2]
        super().__init__(app, address=host, port=port, **options)

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        self.started.set()

    def _init_shared_socket(self) -> None:
        descriptor = self._inherited.dup().detach()
        # The attributes that the base class sets when it binds by itself; the stubs know neither them nor the
        # arguments.
        shared: dict[str, Any] = {"_ssp": None, "_sfd": descriptor}
        shared["_shd"] = SocketHolder(descriptor, False, self.backlog)  # type: ignore[call-arg]
        self.__dict__.update(shared)
