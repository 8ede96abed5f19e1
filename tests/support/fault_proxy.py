"""A TCP proxy in the test's own loop that does to each connection what a bad network or a bad peer does."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any


class Harm(enum.Enum):
    """What happens after `Fault.after_bytes`."""

    NONE = "none"
    CLOSE = "close"  # FIN to both sides
    RESET = "reset"  # RST to both sides
    FREEZE = "freeze"  # nothing passes any more, both stay open: half-open
    GARBAGE = "garbage"  # bytes that mean nothing instead of those that were to come
    DRIBBLE = "dribble"  # one byte at a time with `pause_secs` between


@dataclass(frozen=True)
class Fault:
    """Strikes what the connecting side sends (`upstream`) or what it gets; `delay_secs` holds back every read."""

    harm: Harm = Harm.NONE
    after_bytes: int = 0
    upstream: bool = True
    delay_secs: float = 0.0
    pause_secs: float = 0.05


WHOLE = Fault()
_GARBAGE = b"\xff" * 24 + b"garbage" * 8


class FaultProxy:
    """Forwards 127.0.0.1:`port` to the target while the `async with` lasts. `plan` gives the fault of the n-th
    connection, counted from 0.
    """

    def __init__(self, target: tuple[str, int], plan: Callable[[int], Fault] = lambda _: WHOLE) -> None:
        self._target = target
        self._plan = plan
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connecting = asyncio.Lock()
        self._next: Fault | None = None
        self._taken = asyncio.Event()
        self.port = 0
        self.accepted = 0

    async def connect(self, fault: Fault) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection through the proxy with that fault, whatever the plan says."""
        async with self._connecting:
            self._next = fault
            self._taken.clear()
            ends = await asyncio.open_connection("127.0.0.1", self.port)
            await self._taken.wait()
            return ends

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault, self._next = self._next or self._plan(self.accepted), None
        self.accepted += 1
        self._taken.set()
        self._writers.add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers.add(far_writer)
            ends = (writer, far_writer)
            up, down = (fault, WHOLE) if fault.upstream else (WHOLE, fault)
            pumps = (
                asyncio.ensure_future(self._pump(reader, far_writer, up, ends)),
                asyncio.ensure_future(self._pump(far_reader, writer, down, ends)),
            )
            self._tasks.update(pumps)
            await asyncio.wait(pumps)
            self._tasks.difference_update(pumps)
        except OSError:
            _reset(writer)
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    self._writers.discard(end)
                    end.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        left = fault.after_bytes if fault.harm is not Harm.NONE else None
        with contextlib.suppress(OSError):
            if left == 0:
                await self._strike(b"", reader, writer, fault, ends)
                return
            while data := await reader.read(1 << 16):
                if fault.delay_secs:
                    await asyncio.sleep(fault.delay_secs)
                passed = data if left is None else data[:left]
                writer.write(passed)
                await writer.drain()
                if left is not None:
                    left -= len(passed)
                    if left == 0:
                        await self._strike(data[len(passed) :], reader, writer, fault, ends)
                        return
            writer.write_eof()

    async def _strike(
        self,
        rest: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        if fault.harm is Harm.CLOSE:
            for end in ends:
                end.close()
        elif fault.harm is Harm.RESET:
            for end in ends:
                _reset(end)
        elif fault.harm is Harm.GARBAGE:
            writer.write(_GARBAGE)
            await self._swallow(reader)
        elif fault.harm is Harm.DRIBBLE:
            await self._dribble(rest, reader, writer, fault.pause_secs)
        else:
            await self._swallow(reader)

    async def _dribble(
        self, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_secs: float
    ) -> None:
        while rest or (rest := await reader.read(1 << 16)):
            for at in range(len(rest)):
                writer.write(rest[at : at + 1])
                await writer.drain()
                await asyncio.sleep(pause_secs)
            rest = b""

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(1 << 16):
            pass

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
