"""Rings of decisions, beside the plain-Python statement of them, and under writers that are killed."""

from __future__ import annotations

import mmap
import os
import signal
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext.decision_rings import RingReader, RingWriter
from tests.reference import decision_rings as reference

RINGS = 3
SMALL = RINGS * 64 * 8
WORD = st.integers(0, 2**64 - 1)
FEW = st.integers(0, 3)
WRITE = st.tuples(
    st.just("write"), st.integers(0, RINGS - 1), FEW, FEW, st.integers(0, 2**32 - 1), st.integers(0, 50),
    st.lists(WORD, max_size=40),
)  # fmt: skip
READ = st.tuples(st.just("read"), st.integers(0, 1), FEW, st.integers(0, 40), st.none() | st.sets(FEW))


@given(st.lists(WRITE | READ, max_size=60), st.integers(-1, RINGS - 1), st.data())
def test_records_are_what_the_plain_statement_says(steps: list[tuple[str, ...]], own: int, data: st.DataObject) -> None:
    memory = bytearray(SMALL)
    plain = reference.Rings(SMALL, RINGS)
    writers = [RingWriter(memory, RINGS, ring) for ring in range(RINGS)]
    late = data.draw(st.integers(0, len(steps)))
    readers = [(RingReader(memory, RINGS, own), reference.Reader(plain, own))]
    for at, (verb, who, *rest) in enumerate(steps):
        if at == late:
            readers.append((RingReader(memory, RINGS, own), reference.Reader(plain, own)))
        if verb == "write":
            pool, worker, dp_rank, time_ns, hashes = rest
            decision = (int(pool), int(worker), int(dp_rank), int(time_ns), array("Q", hashes))  # type: ignore[arg-type]
            writers[int(who)].write(*decision)
            plain.write(int(who), *decision)
            assert [each.records for each in writers] == plain.records
        elif int(who) < len(readers):
            ours, theirs = readers[int(who)]
            assert list(ours.read(*rest)) == theirs.read(*rest)  # type: ignore[arg-type]
            assert ours.lost == theirs.lost


def test_the_next_writer_of_a_ring_goes_on_behind_what_is_there() -> None:
    memory = mmap.mmap(-1, SMALL)
    for worker in (1, 2):
        RingWriter(memory, RINGS, 1).write(9, worker, 0, worker, array("Q", [worker]))
    reader = RingReader(memory, RINGS)
    assert [found[1] for found in reader.read(9)] == [1, 2]
    assert RingWriter(memory, RINGS, 1).records == 2


@pytest.mark.parametrize(
    ("size", "rings", "ring"), [(63 * 8, 1, 0), (SMALL, 0, 0), (SMALL, RINGS, RINGS), (SMALL, 1, -1)]
)
def test_memory_and_rings_that_cannot_be(size: int, rings: int, ring: int) -> None:
    with pytest.raises(ValueError, match=r"rings|no ring"):
        RingWriter(bytearray(size), rings, ring)


def test_readers_beside_writers_that_are_killed_see_whole_records_alone() -> None:
    memory = mmap.mmap(-1, RINGS * 4096)
    reader = RingReader(memory, RINGS)
    seen = lost = 0
    for _ in range(4):
        children = [fork_writer(memory, ring) for ring in range(RINGS)]
        wanted = seen + lost + 20_000
        while seen + reader.lost < wanted:
            for time_ns, worker_id, dp_rank, hashes in reader.read(5):
                seen += 1
                assert hashes.tolist() == [time_ns] * len(hashes)
                assert (worker_id, dp_rank) == (time_ns % 1000, len(hashes))
        lost = reader.lost
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert seen and lost


def fork_writer(memory: mmap.mmap, ring: int) -> int:
    """A process that writes without end; each record says of itself what it must look like."""
    child = os.fork()
    if not child:
        try:
            writer, number = RingWriter(memory, RINGS, ring), 0
            while True:
                number += 1
                blocks = number % 97
                writer.write(5, number % 1000, blocks, number, array("Q", [number]) * blocks)
        finally:
            os._exit(1)
    return child
