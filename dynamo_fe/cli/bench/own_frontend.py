"""A frontend with mock workers for the time of a measurement."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import Final

from dynamo_fe.appliance.parent_death import end_with_parent
from dynamo_fe.cli.bench.options import BenchError, BenchOptions
from dynamo_fe.cli.exit_codes import FOR_GOOD
from dynamo_fe.config import TABLE
from dynamo_fe.config.errors import FAILED

_START_SECS: Final = 60.0
_END_SECS: Final = 30.0
# said once the first process serves
_SERVING: Final = re.compile(r"serving on (https?://\S+) in ")
_KEPT_LINES: Final = 20


@contextlib.asynccontextmanager
async def own_frontend(options: BenchOptions) -> AsyncIterator[str]:
    """Yields its address. Raises BenchError when it does not come up, with what it said last."""
    begin = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "dynamo_fe"]
    fixed = ["--http-host", "127.0.0.1", "--http-port", "0", "--mock-workers", str(options.mock_workers)]
    parent_pid = os.getpid()
    process = await asyncio.create_subprocess_exec(
        *begin, "serve", *fixed, *options.serve,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(parent_pid, signal.SIGTERM),
    )  # fmt: skip
    assert process.stderr is not None
    said = _Said(process, process.stderr)
    reading = asyncio.create_task(said.read(), name="own-frontend")
    try:
        yield await _served(said)
    finally:
        await _end(process)
        reading.cancel()


async def _served(said: _Said) -> str:
    try:
        async with asyncio.timeout(_START_SECS):
            return await said.url
    except TimeoutError:
        raise BenchError(f"its own frontend did not serve within {_START_SECS:g} s: {said.last}") from None


def _environment() -> dict[str, str]:
    """Without what would point a frontend at a real cluster, or at a file that does. The end need not wait for a load
    balancer, and what it says is read.
    """
    settings = {setting.variable for setting in TABLE}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return kept | {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "0", "DYN_LOG": "info"}


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class _Said:
    """The lines that it logs: the address in one of them, and the last ones."""

    def __init__(self, process: asyncio.subprocess.Process, source: asyncio.StreamReader) -> None:
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process = process
        self._source = source
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)

    @property
    def last(self) -> str:
        return self._lines[-1] if self._lines else "it said nothing"

    async def read(self) -> None:
        async for line in self._source:
            text = line.decode(errors="replace").strip()
            self._lines.append(text)
            found = _SERVING.search(text)
            if found and not self.url.done():
                self.url.set_result(found[1])
        if not self.url.done():
            code = await self._process.wait()
            exit_code = code if code in FOR_GOOD else FAILED
            self.url.set_exception(BenchError(f"its own frontend ended: {self.last}", exit_code))
