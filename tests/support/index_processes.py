"""A process that writes a shared prefix index and processes that read it meanwhile and judge every answer.

    python -m tests.support.index_processes write|press|read|read-pressed REGION_FD BOARD_FD OPERATIONS SEED

Chains of blocks are owned by three ranks each. Beside the region lies a board with one word for each (chain, rank):
before a change the writer puts there a number, counted up, and between which depths the rank will be until it is done.
A reader that finds the same word before and after a find knows what the answer must lie between. Moreover:

* rank 0 of a chain holds at least what rank 1 holds, at every moment: it stores first and removes last;
* rank 2 or rank 1 holds all of the chain at every moment: they hand it over to one another.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
from array import array

from dynamo_fe._cext.prefix_index import Overlaps, Reader, Writer

CHAINS = 3
RANKS = 3
LENGTH = 200
MAX_RANKS = 256
# The number in a word after the first change.
SETTLED = 2
BOARD_BYTES = 8 * CHAINS * RANKS + 8


def locals_of(chain: int) -> array[int]:
    return array("Q", [chain << 32 | place for place in range(1, LENGTH + 1)])


def worker_of(chain: int, rank: int) -> int:
    return 1 + chain * RANKS + rank


class Board:
    """The words (number << 16 | least depth << 8 | greatest depth), and one that says that the writer is done."""

    def __init__(self, fd: int, write: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        self.words = memoryview(mmap.mmap(fd, BOARD_BYTES, prot=protection)).cast("Q")

    def announce(self, chain: int, rank: int, least: int, most: int) -> None:
        place = chain * RANKS + rank
        self.words[place] = ((self.words[place] >> 16) + 1) << 16 | least << 8 | most

    def read(self, chain: int) -> list[int]:
        return self.words[chain * RANKS : chain * RANKS + RANKS].tolist()

    @property
    def done(self) -> bool:
        return bool(self.words[CHAINS * RANKS])

    def finish(self) -> None:
        self.words[CHAINS * RANKS] = 1


class Chains:
    """The writer's side: moves the depths of ranks about and keeps the promises above."""

    def __init__(self, index: Writer, board: Board, seed: int) -> None:
        self.index, self.board, self.random = index, board, random.Random(seed)
        self.depth = [[0] * RANKS for _ in range(CHAINS)]
        self.operations = 0
        for chain in range(CHAINS):
            for rank in range(RANKS):
                self.move(chain, rank, LENGTH)

    def move(self, chain: int, rank: int, depth: int) -> None:
        before = self.depth[chain][rank]
        blocks, worker = locals_of(chain), worker_of(chain, rank)
        self.board.announce(chain, rank, min(before, depth), max(before, depth))
        if depth == 0 and before and self.random.random() < 0.3:
            self.index.cleared(worker, 0)
        elif depth < before:
            assert self.index.removed(worker, 0, blocks[depth:before][::-1]) == "ok"
        else:
            parent = blocks[before - 1] if before else None
            assert self.index.stored(worker, 0, parent, blocks[before:depth], blocks[before:depth]) == "ok"
        self.board.announce(chain, rank, depth, depth)
        self.depth[chain][rank] = depth
        self.operations += 1

    def step(self) -> None:
        """Rank 1 goes to another depth, with rank 0 at least as deep and rank 2 whole meanwhile; or rank 2 does."""
        chain = self.random.randrange(CHAINS)
        zero, one, two = self.depth[chain]
        target = self.random.randrange(LENGTH + 1)
        if self.random.random() < 0.5:
            if two < LENGTH:
                self.move(chain, 2, LENGTH)
            if target > one:
                self.move(chain, 0, max(zero, target))
                self.move(chain, 1, target)
            else:
                self.move(chain, 1, target)
                self.move(chain, 0, self.random.randrange(target, LENGTH + 1))
        else:
            if one < LENGTH:
                self.move(chain, 0, LENGTH)
                self.move(chain, 1, LENGTH)
            self.move(chain, 2, target)


def write(region: int, board: Board, operations: int, seed: int) -> None:
    chains = Chains(Writer(mmap.mmap(region, 0), MAX_RANKS), board, seed)
    while chains.operations < operations:
        chains.step()
    board.finish()
    print(chains.operations)


def read(region: int, board: Board, operations: int, seed: int) -> None:
    """Finds, `operations` times and until the writer is done, and dies at the first answer that cannot be."""
    reader, overlaps = Reader(mmap.mmap(region, 0, prot=mmap.PROT_READ)), Overlaps(MAX_RANKS)
    rnd = random.Random(seed)
    version, slots = -1, {}
    done = certain = whole = 0
    while done < operations or not board.done:
        if reader.ranks_version != version:
            version = reader.ranks_version
            slots = {worker: slot for slot, worker, _ in reader.ranks()}
        chain = rnd.randrange(CHAINS)
        before = board.read(chain)
        if not all(before) or worker_of(chain, RANKS - 1) not in slots:
            continue
        reader.find(locals_of(chain), overlaps)
        after = board.read(chain)
        depth = [overlaps.device[slots[worker_of(chain, rank)]] for rank in range(RANKS)]
        assert depth[0] >= depth[1], (chain, depth, before, after)
        if overlaps.whole and all(word >> 16 >= SETTLED for word in before):
            assert max(depth[1:]) == LENGTH, (chain, depth, before, after)
        for rank in range(RANKS):
            if before[rank] == after[rank]:
                least, most = before[rank] >> 8 & 255, before[rank] & 255
                certain += 1
                assert depth[rank] <= most, (chain, depth, before, after)
                assert depth[rank] >= least or not overlaps.whole, (chain, depth, before, after)
        owners = {slots[worker_of(chain, rank)] for rank in range(RANKS)}
        assert {slot for slot, *_ in overlaps.ranks()} <= owners, (chain, overlaps.ranks())
        whole += overlaps.whole
        done += 1
    assert certain > done
    assert whole > done / 2
    print(done)


def press(region: int, board: Board, operations: int, seed: int) -> None:
    """Writes ever new chains of all ranks into memory that is too small for them: nodes are used again at once."""
    index, rnd = Writer(mmap.mmap(region, 0), MAX_RANKS), random.Random(seed)
    for done in range(operations):
        worker = rnd.randrange(1, 200)
        blocks = array("Q", [1, 2, *(worker << 32 | rnd.randrange(1 << 5) for _ in range(LENGTH))])
        ids = array("Q", [1, 2, *(worker << 40 | done << 8 | place for place in range(LENGTH))])
        index.stored(worker, 0, None, ids, blocks)
        if done % 50 == 0:
            index.remove_worker(rnd.randrange(1, 200))
    assert index.stats()["evicted_blocks"] > operations
    board.finish()
    print(operations)


def read_pressed(region: int, board: Board, operations: int, seed: int) -> None:
    """Only the rank whose number is in a block may hold it; all else is an answer put together from two moments."""
    reader, overlaps = Reader(mmap.mmap(region, 0, prot=mmap.PROT_READ)), Overlaps(MAX_RANKS)
    rnd = random.Random(seed)
    version, slots = -1, {}
    done = found = 0
    while done < operations or not board.done:
        worker = rnd.randrange(1, 200)
        if reader.ranks_version != version:
            version = reader.ranks_version
            slots = {worker: slot for slot, worker, _ in reader.ranks()}
        reader.find(array("Q", [1, 2, worker << 32 | rnd.randrange(1 << 5)]), overlaps)
        if reader.ranks_version == version:
            deep = [slot for slot, device, *_ in overlaps.ranks() if device > 2]
            assert deep in ([], [slots.get(worker)]), (worker, deep)
            found += len(deep)
        done += 1
    assert found
    print(done)


def main() -> None:
    role, region, board, operations, seed = sys.argv[1:]
    act = {"write": write, "press": press, "read": read, "read-pressed": read_pressed}[role]
    act(int(region), Board(int(board), write=role in ("write", "press")), int(operations), int(seed))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
