"""Programs that are run for what they say."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from pathlib import Path

import pytest

from dynamo_fe.ops.child_process import output_of

# Said by whoever is forked from Python with Python to run in it.
NOTED = """
import asyncio, os, sys, uvloop
from dynamo_fe.ops.child_process import output_of

os.register_at_fork(after_in_child=lambda: os.write(2, b"Python ran in a fork"))
print(uvloop.run(output_of([sys.executable, "-c", "print('said')"], os.environ, 30)))
"""


def program(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


async def test_what_it_says_and_its_code() -> None:
    found = await output_of(program("print('said'); raise SystemExit(3)"), {}, 30)
    assert found == (3, b"said\n")


async def test_no_python_runs_between_fork_and_program() -> None:
    child = await asyncio.create_subprocess_exec(
        *program(NOTED), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said = await child.communicate()
    assert said == (b"Ended(code=0, output=b'said\\n')\n", b"")


async def test_one_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        await output_of(["/nowhere/program"], {}, 30)


def telling(place: Path) -> list[str]:
    """Writes its process id there and goes on for long."""
    text = f"import os, pathlib, time; pathlib.Path({str(place)!r}).write_text(str(os.getpid())); time.sleep(60)"
    return program(text)


async def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await output_of(telling(tmp_path / "pid"), {}, 2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_one_that_nobody_waits_for_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    waiting = asyncio.create_task(output_of(telling(place), {}, 60))
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    async with asyncio.timeout(30):
        while not place.exists() or not place.read_text():
            await asyncio.sleep(0.01)
        handle = os.pidfd_open(int(place.read_text()))
        loop.add_reader(handle, ended.set)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await ended.wait()
    loop.remove_reader(handle)
    os.close(handle)
