"""The metrics of all serving processes of one supervisor, whichever of them is asked.

Each listens on an abstract Unix socket and says its state to whoever connects; the one that is scraped asks the others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from types import TracebackType
from typing import Final

from dynamo_fe.ops.metrics import MetricsRegistry, Snapshot

_log = logging.getLogger("dynamo_fe.ops")

_ANSWER_SECS: Final = 1.0
_MOST_BYTES: Final = 16 << 20
# field 22 of proc(5)'s stat, of which the first two end with the name in brackets
_START_TIME: Final = 22 - 3


class SiblingMetrics:
    """The process on `seat` of `seats` under the supervisor `group` (see `group_of`). Listens while it is entered.

    A seat may be empty: the generations of reloads take turns.
    """

    def __init__(self, registry: MetricsRegistry, group: str, seat: int, seats: int) -> None:
        self._registry = registry
        self._own = _address(group, seat)
        self._others = [_address(group, other) for other in range(seats) if other != seat]
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> None:
        if self._others:
            self._server = await asyncio.start_unix_server(self._answer, self._own)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def collect(self) -> list[Snapshot]:
        """The state of the others; one that does not answer is left out."""
        found = await asyncio.gather(*map(self._ask, self._others))
        return [snapshot for snapshot in found if snapshot is not None]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(self._registry.snapshot()).encode())
        writer.close()

    async def _ask(self, address: str) -> Snapshot | None:
        try:
            async with asyncio.timeout(_ANSWER_SECS):
                reader, writer = await _connect(address)
                try:
                    snapshot: Snapshot = json.loads(await reader.read())
                finally:
                    writer.close()
        except ConnectionRefusedError:
            return None
        except (OSError, TimeoutError, ValueError) as error:
            _log.warning("a serving process did not say its metrics: %s", error or type(error).__name__)
            return None
        return snapshot


def group_of(pid: int) -> str:
    """A name for that process and what it started. With the time it was started, in clock ticks since boot (proc(5)):
    in containers that share a network, and with it these addresses, every supervisor may be process 1.
    """
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{pid}-{after_name[_START_TIME]}"


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects the socket by itself: uvloop 0.23 refuses to connect to an abstract address, yet listens on one."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        peer.connect(address)
        return await asyncio.open_unix_connection(sock=peer, limit=_MOST_BYTES)
    except BaseException:
        peer.close()
        raise


def _address(group: str, seat: int) -> str:
    """In the abstract name space: no file to clean up, gone with its process."""
    return f"\0dynamo-fe/{group}/{seat}/metrics"
