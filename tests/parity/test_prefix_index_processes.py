"""One process writes the prefix index while four read it: no wrong answer, none put together from two moments.

DYN_FE_INDEX_OPERATIONS sets how many operations all processes do together; it was run at 1,000,000.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dynamo_fe._cext.prefix_index import Overlaps, Reader, Writer, region_bytes
from tests.support.index_processes import BOARD_BYTES, CHAINS, LENGTH, MAX_RANKS, RANKS, locals_of

OPERATIONS = int(os.environ.get("DYN_FE_INDEX_OPERATIONS", "60000"))
READERS = 4
ROOMY = region_bytes(4 * CHAINS * RANKS * LENGTH, MAX_RANKS)
SMALL = region_bytes(2000, MAX_RANKS)
END_SECS = 60 + OPERATIONS / 1000


@pytest.fixture
def board() -> Iterator[int]:
    fd = shared(BOARD_BYTES)
    yield fd
    os.close(fd)


def shared(size: int) -> int:
    fd = os.memfd_create("index")
    os.ftruncate(fd, size)
    return fd


def start(role: str, region: int, board: int, operations: int, seed: int) -> subprocess.Popen[str]:
    arguments = [role, *(str(number) for number in (region, board, operations, seed))]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.index_processes", *arguments],
        pass_fds=(region, board),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> int:
    """How many operations it did; its own words where it failed."""
    out, errors = process.communicate(timeout=END_SECS)
    assert process.returncode == 0, errors
    return int(out)


@pytest.mark.timeout(2 * END_SECS)
@pytest.mark.parametrize(("writer", "reader", "size"), [("write", "read", ROOMY), ("press", "read-pressed", SMALL)])
def test_readers_beside_a_writer(board: int, writer: str, reader: str, size: int) -> None:
    region = shared(size)
    share = OPERATIONS // (READERS + 1) + 1
    processes = [start(writer, region, board, share, 1)]
    processes += [start(reader, region, board, share, seed) for seed in range(2, 2 + READERS)]
    assert sum(end(process) for process in processes) >= OPERATIONS
    os.close(region)


def test_a_writer_that_is_killed_leaves_memory_in_which_the_next_one_makes_a_new_index(board: int) -> None:
    region = shared(SMALL)
    memory = mmap.mmap(region, 0)
    reader, overlaps = Reader(mmap.mmap(region, 0, prot=mmap.PROT_READ)), Overlaps(MAX_RANKS)
    rnd = random.Random(5)
    for round_ in range(6):
        generation = reader.generation
        process = start("press", region, board, 10**9, round_)
        while reader.generation in (generation, generation + 1) or not reader.ranks():
            assert process.poll() is None, process.communicate()
        for _ in range(rnd.randrange(20_000)):
            reader.find([1, 2, 3], overlaps)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reader.find([1, 2, 3], overlaps)
        ranks_version = reader.ranks_version
        index = Writer(memory, MAX_RANKS)
        assert reader.ranks_version > ranks_version
        assert reader.find(locals_of(1), overlaps) == 0
        assert reader.ranks() == []
        assert index.stored(9, 0, None, locals_of(1), locals_of(1)) == "ok"
        assert reader.find(locals_of(1), overlaps) == 1
        assert overlaps.ranks() == [(0, LENGTH, 0, 0)]
    os.close(region)


def test_a_reader_survives_memory_gone_wild() -> None:
    """Whatever the bytes are, a find ends and stays within the region."""
    size = region_bytes(300, 64)
    rnd = random.Random(7)
    overlaps = Overlaps(64)
    for _ in range(300):
        memory = mmap.mmap(-1, size)
        index = Writer(memory, 64)
        for worker in range(1, 30):
            blocks = [1, 2, 3, worker % 5 + 4, worker]
            index.stored(worker, 0, None, blocks, blocks)
            index.stored(worker, 0, 3, [9, 10], [9, 10], tier=1)
        for _ in range(rnd.randrange(1, 400)):
            memory[rnd.randrange(1024, size)] = rnd.randrange(256)
        for last in range(30):
            index.find([1, 2, 3, last % 5 + 4, last], overlaps)
            index.find([1, 2, 3, 9, 10, last], overlaps)
        assert all(0 <= slot < 64 for slot, *_ in overlaps.ranks())
