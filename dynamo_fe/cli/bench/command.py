"""`dynamo-fe bench` from the command line to the report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import uvloop

from dynamo_fe.appliance.limits import raise_fd_limit
from dynamo_fe.cli.bench.frontend import Frontend
from dynamo_fe.cli.bench.load import Load
from dynamo_fe.cli.bench.options import BenchError, BenchOptions, parse
from dynamo_fe.cli.bench.own_cost import OwnCost
from dynamo_fe.cli.bench.own_frontend import own_frontend
from dynamo_fe.cli.bench.progress import Progress
from dynamo_fe.cli.bench.report import Measured, as_json, as_text
from dynamo_fe.cli.bench.serving_cpu import ServingCpu, Unknown
from dynamo_fe.cli.exit_codes import BENCH_HAD_FAILURES
from dynamo_fe.config.errors import NO_RESOURCES

# beside the connections
_OTHER_FILES: Final = 64
_OWN_MODEL_SECS: Final = 60.0
_TURN_SECS: Final = 0.25
# reading /proc takes some of the time that is measured
_TURNS_A_LOOK: Final = 8


def run(argv: Sequence[str]) -> int:
    """The command; what it ends with is in the table of exit codes."""
    interrupt = Interrupt()
    try:
        options = parse(argv)
        _need_files(options.concurrency + _OTHER_FILES)
        measured = uvloop.run(_bench(options, interrupt))
    except BenchError as error:
        print(f"dynamo-fe bench: {error}", file=sys.stderr)
        return error.exit_code
    except asyncio.CancelledError:
        print("dynamo-fe bench: interrupted before the load began", file=sys.stderr)
        return interrupt.exit_code
    print(json.dumps(as_json(measured), indent=2) if options.json else as_text(measured))
    if measured.interrupted:
        return interrupt.exit_code
    return 0 if measured.tally.complete and not measured.tally.failed else BENCH_HAD_FAILURES


class Interrupt:
    """The first SIGINT or SIGTERM cancels the task that called `watch`, which may report what it has; a second one ends
    the process.
    """

    def __init__(self) -> None:
        self._signum = 0

    @property
    def came(self) -> bool:
        return self._signum != 0

    @property
    def exit_code(self) -> int:
        return 128 + self._signum

    def watch(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def on_signal(signum: int) -> None:
            self._signum = signum
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
            task.cancel()

        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, on_signal, signum)


def _need_files(count: int) -> None:
    allowed = raise_fd_limit(count)
    if 0 <= allowed < count:
        raise BenchError(f"only {allowed} files may be open at once, {count} are needed: raise ulimit -n", NO_RESOURCES)


async def _bench(options: BenchOptions, interrupt: Interrupt) -> Measured:
    interrupt.watch()
    progress = Progress()
    try:
        async with _frontend(options, progress) as frontend:
            patience_secs = _OWN_MODEL_SECS if options.url is None else 0.0
            model = await frontend.choose_model(options.model, patience_secs)
            prompts = await frontend.fitting_prompts(options, model)
            load = Load(options, frontend.target, prompts)
            return await _measure(options, frontend, model, load, interrupt, progress)
    finally:
        progress.clear()


@contextlib.asynccontextmanager
async def _frontend(options: BenchOptions, progress: Progress) -> AsyncIterator[Frontend]:
    async with contextlib.AsyncExitStack() as stack:
        url = options.url
        if url is None:
            progress.say(f"starting a frontend with {options.mock_workers} mock workers")
            url = await stack.enter_async_context(own_frontend(options))
        frontend = Frontend(url)
        stack.callback(frontend.close)
        yield frontend


async def _measure(
    options: BenchOptions, frontend: Frontend, model: str, load: Load, interrupt: Interrupt, progress: Progress
) -> Measured:
    cpu: ServingCpu | str
    try:
        cpu = ServingCpu.of(frontend.target.host, frontend.target.port)
        cpu.look()
    except Unknown as error:
        cpu = str(error)
    own = OwnCost()
    progress.begin()
    watching = asyncio.create_task(_watch(load, cpu, progress), name="progress")
    try:
        async with own.measured():
            await load.run()
    except asyncio.CancelledError:
        if not interrupt.came:
            raise
    finally:
        watching.cancel()
    if isinstance(cpu, ServingCpu):
        cpu.look()
    return Measured(frontend.url, model, options, load.tally, own, cpu, interrupt.came)


async def _watch(load: Load, cpu: ServingCpu | str, progress: Progress) -> None:
    for turn in itertools.count():
        progress.show(load.tally)
        if isinstance(cpu, ServingCpu) and turn % _TURNS_A_LOOK == 0:
            cpu.look()
        await asyncio.sleep(_TURN_SECS)
