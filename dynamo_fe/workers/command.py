"""`dynamo-fe mock-worker`: runs one mock worker until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

import uvloop

from dynamo_fe.discovery.base import KeyTaken
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.ops import logs
from dynamo_fe.workers.options import MockOptions, OptionError, parse_options
from dynamo_fe.workers.passages import load_passages
from dynamo_fe.workers.server import MockWorker

_log = logging.getLogger("dynamo_fe.workers")

EXIT_FAILED = 1
_BEFORE: Final = "dynamo-fe mock-worker: "


def run(argv: list[str]) -> int:
    """The command. `argv` is what follows its name. Returns the exit code: 0 after an orderly end, 1 if the worker
    could not start, 2 for a wrong command line, 78 for a wrong variable."""
    try:
        options = parse_options(argv, os.environ)
    except OptionError as error:
        logs.say(logging.ERROR, str(error), before=_BEFORE, target=_log.name)
        return error.exit_code
    logs.configure(options.log_level, options.log_jsonl)
    try:
        return uvloop.run(_serve(options))
    except (OSError, ValueError, KeyTaken) as error:
        logs.say(logging.ERROR, str(error), before=_BEFORE, jsonl=options.log_jsonl, target=_log.name)
        return EXIT_FAILED


async def _serve(options: MockOptions) -> int:
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        # A supervisor has its children ignore SIGINT, which a terminal sends to all of them: it alone answers it.
        if signal.getsignal(signum) != signal.SIG_IGN:
            loop.add_signal_handler(signum, signals.put_nowait, None)
    passages = load_passages(options.model_path / "tokenizer.json")
    worker = MockWorker(options, open_discovery(options), passages)
    try:
        if await _start(worker, options, signals):
            await signals.get()
            _log.info("stopping: %d requests running, %d waiting", worker.running, worker.waiting)
            await _unless_signalled(worker.drain(options.drain_secs), signals)
    finally:
        await worker.close()
    return 0


async def _start(worker: MockWorker, options: MockOptions, signals: asyncio.Queue[None]) -> bool:
    """False if a signal came first. Raises `OSError` when etcd stays away for longer than it may."""
    limit_secs = options.etcd_startup_timeout_secs if options.discovery_backend == "etcd" else None
    try:
        async with asyncio.timeout(limit_secs):
            return await _unless_signalled(worker.start(), signals)
    except TimeoutError:
        raise OSError(f"no registration within {limit_secs} s") from None


async def _unless_signalled(work: Coroutine[Any, Any, None], signals: asyncio.Queue[None]) -> bool:
    """Runs `work` to its end, or gives it up when a signal comes (then False)."""
    doing, signalled = asyncio.create_task(work), asyncio.create_task(signals.get())
    try:
        await asyncio.wait((doing, signalled), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            if signalled.done():
                # Both at once: the signal is for whoever waits for one next.
                signals.put_nowait(None)
            return True
        return False
    finally:
        doing.cancel()
        signalled.cancel()
