"""Block hashes, prefix index and score: their CPU time, beside the released library's, and how they grow.

    python -m tests.bench.kv_index [--rounds N] [--json PATH] [--skip-growth]

A prompt is 8,192 tokens, 128 blocks of 64; the first 64 blocks are one of eight system prompts that all workers hold.
The released library answers from a process of its own, in turn with ours. README.md beside this file says how the
figures may mislead.
"""

from __future__ import annotations

import argparse
import json
import mmap
import statistics
import subprocess
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe._cext.prefix_index import Overlaps, Writer, region_bytes
from dynamo_fe._cext.routing_score import Candidates, Weights
from dynamo_fe.protocol.events import Change, KvEvent, Removed, RouterEvent, Stored, StoredBlock, encode, pack_blocks
from dynamo_fe.routing.kv_events.rank import RankFeed, State
from dynamo_fe.routing.kv_events.tally import TALLY_BYTES, Tally
from tests.bench.kv_sessions import BLOCK_TOKENS, BLOCKS, SHARED, TOKENS, Sessions
from tests.support.peer import ROOT, peer_python

ASKED = 300
CALLS = 3000
MAIN = (1_000_000, 64)
GROWTH = [
    (10_000, 64, False),
    (100_000, 64, False),
    (10_000_000, 64, False),
    (1_000_000, 4, False),
    (1_000_000, 256, False),
    (1_000_000, 1024, False),
    (1_000_000, 64, True),
]


def per_call(act: Callable[[int], object], calls: int = CALLS) -> float:
    """CPU microseconds of one call."""
    begin = time.process_time()
    for number in range(calls):
        act(number)
    return (time.process_time() - begin) / calls * 1e6


def message(worker: int, event_id: int, change: Change) -> bytes:
    return encode([RouterEvent(worker_id=worker, event=KvEvent(event_id=event_id, dp_rank=0, data=change))])


def store_messages(stores: list[tuple[int, array[int], array[int]]], chunk: int) -> Iterator[tuple[int, bytes]]:
    numbers = Counter[int]()
    for worker, ids, hashes in stores:
        for first in range(0, BLOCKS, chunk):
            pairs = zip(ids[first : first + chunk], hashes[first : first + chunk], strict=True)
            blocks = pack_blocks([StoredBlock(block, local) for block, local in pairs])
            numbers[worker] += 1
            change = Change(stored=Stored(ids[first - 1] if first else None, None, blocks))
            yield worker, message(worker, numbers[worker], change)


def removal_messages(stores: list[tuple[int, array[int], array[int]]], chunk: int) -> Iterator[tuple[int, bytes]]:
    numbers = Counter[int]()
    for worker, ids, _ in reversed(stores):
        for last in range(BLOCKS, 0, -chunk):
            numbers[worker] += 1
            change = Change(removed=Removed(ids[last - chunk : last][::-1].tolist()))
            yield worker, message(worker, numbers[worker], change)


class Ours:
    """An index, filled, and the prompts. `everywhere`: every worker holds every conversation."""

    def __init__(self, blocks: int, workers: int, everywhere: bool = False) -> None:
        self.sessions = Sessions(blocks, workers, ASKED)
        self.prompts = self.sessions.prompts()
        self.lists = [prompt.tolist() for prompt in self.prompts]
        self.locals = [local_hashes(prompt, BLOCK_TOKENS) for prompt in self.prompts]
        self.max_ranks = max(1024, workers)
        self.index = self.new_index(copies=2 if everywhere else 1)
        for worker, ids, hashes in self.stores():
            for holder in range(1, workers + 1) if everywhere else (worker,):
                assert self.index.stored(holder, 0, None, ids, hashes) == "ok"
        self.overlaps = Overlaps(self.max_ranks)
        self.weights = Weights()
        self.candidates = Candidates(workers)
        slots = {worker: slot for slot, worker, _ in self.index.ranks()}
        for row in range(workers):
            self.candidates.slot[row] = slots.get(row + 1, -1)
            self.candidates.prefill_tokens[row] = row * 7919 % 5000
            self.candidates.active_blocks[row] = row * 104729 % 300

    def new_index(self, copies: int = 1) -> Writer:
        room = copies * self.sessions.count * (BLOCKS - SHARED) + 100_000
        return Writer(mmap.mmap(-1, region_bytes(room, self.max_ranks)), self.max_ranks)

    def stores(self) -> Iterator[tuple[int, array[int], array[int]]]:
        return self.sessions.stores(self.locals)

    def route(self, tokens: array[int] | list[int]) -> int:
        """All of a request's routing that these modules do."""
        hashes = local_hashes(tokens, BLOCK_TOKENS)
        self.index.find(hashes, self.overlaps)
        self.candidates.take_overlaps(self.overlaps)
        return self.candidates.choose(self.weights, TOKENS, BLOCK_TOKENS, BLOCKS, 0.5)

    def score(self) -> int:
        self.candidates.take_overlaps(self.overlaps)
        return self.candidates.choose(self.weights, TOKENS, BLOCK_TOKENS, BLOCKS, 0.5)

    def prompt(self) -> dict[str, float]:
        prompts, lists, hashes, index, overlaps = self.prompts, self.lists, self.locals, self.index, self.overlaps
        return {
            "hash": per_call(lambda n: local_hashes(prompts[n % ASKED], BLOCK_TOKENS)),
            "hash from a list": per_call(lambda n: local_hashes(lists[n % ASKED], BLOCK_TOKENS)),
            "sequence hashes": per_call(lambda n: sequence_hashes(hashes[n % ASKED])),
            "find": per_call(lambda n: index.find(hashes[n % ASKED], overlaps)),
            "score": per_call(lambda n: self.score()),
            "hash, find and score": per_call(lambda n: self.route(prompts[n % ASKED])),
            "the same from a list": per_call(lambda n: self.route(lists[n % ASKED])),
        }

    def read_messages(self) -> dict[str, float]:
        """Blocks a CPU second, from the bytes of a worker's messages on, as the consumer of events reads them."""
        stores = [store for _, store in zip(range(4000), self.stores(), strict=False)]
        rates = {}
        for chunk in (16, 128):
            index, tally = self.new_index(), Tally(bytearray(TALLY_BYTES))
            feeds = {worker: RankFeed(worker, 0, index, tally) for worker, _, _ in stores}
            for kind, make in (("stored", store_messages), ("removed", removal_messages)):
                messages = list(make(stores, chunk))
                for feed in feeds.values():
                    feed.state, feed.last = State.LIVE, None
                begin = time.process_time()
                for worker, payload in messages:
                    feeds[worker].take(payload)
                rates[f"{kind} by {chunk}, messages"] = len(stores) * BLOCKS / (time.process_time() - begin)
            assert index.stats()["nodes"] == 0
        return rates

    def apply(self) -> dict[str, float]:
        """Blocks a CPU second, by blocks an event. Half of them are system prompts, most of which are known already."""
        stores = [store for _, store in zip(range(4000), self.stores(), strict=False)]
        blocks = len(stores) * BLOCKS
        rates = {}
        for chunk in (1, 16, 128):
            index = self.new_index()
            events = [
                (worker, ids[first - 1] if first else None, ids[first : first + chunk], hashes[first : first + chunk])
                for worker, ids, hashes in stores
                for first in range(0, BLOCKS, chunk)
            ]
            begin = time.process_time()
            for worker, parent, ids, hashes in events:
                index.stored(worker, 0, parent, ids, hashes)
            rates[f"stored by {chunk}"] = blocks / (time.process_time() - begin)
            removals = [(worker, ids[::-1]) for worker, _, ids, _ in reversed(events)]
            begin = time.process_time()
            for worker, ids in removals:
                index.removed(worker, 0, ids)
            rates[f"removed by {chunk}"] = blocks / (time.process_time() - begin)
            assert index.stats()["nodes"] == 0
        return rates


class Peer:
    """The process with the released library."""

    def __init__(self, blocks: int, workers: int) -> None:
        command = [str(peer_python()), "-m", "tests.bench.kv_peer", str(blocks), str(workers), str(ASKED)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def _line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, what: str) -> dict[str, float]:
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)
        answer: dict[str, float] = self._line()
        return answer

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}


def show(title: str, ours: dict[str, float], theirs: dict[str, float], unit: str, scale: float = 1.0) -> None:
    for name, value in ours.items():
        beside = f"   original {theirs[name] / scale:8.2f}" if name in theirs else ""
        print(f"{title:9s} {name:22s} {value / scale:8.2f}{beside} {unit}", flush=True)
    for name in theirs.keys() - ours.keys():
        print(f"{title:9s} {name:22s}             original {theirs[name] / scale:8.2f} {unit}", flush=True)


def compare(rounds: int) -> dict[str, Any]:
    """The main size, ours and the original in turn."""
    ours, peer = Ours(*MAIN), Peer(*MAIN)
    prompts: list[dict[str, float]] = []
    peer_prompts: list[dict[str, float]] = []
    for _ in range(rounds):
        prompts.append(ours.prompt())
        peer_prompts.append(peer.ask("prompt") | peer.ask("service"))
    applied = medians([ours.apply() | ours.read_messages() for _ in range(rounds)])
    peer_applied = peer.ask("apply")
    peer.stop()
    cost, peer_cost = medians(prompts), medians(peer_prompts)
    stats = ours.index.stats()
    show("prompt", cost, peer_cost, "us")
    show("apply", applied, peer_applied, "M blocks/s", 1e6)
    whole = cost["hash, find and score"]
    ratios = {
        "hash, find and score / original's hash and find": whole / peer_cost["hash and find"],
        "the same from a list / original's hash and find": cost["the same from a list"] / peer_cost["hash and find"],
        "hash, find and score / original's select": whole / peer_cost["select"],
        "find / original's find": cost["find"] / peer_cost["find"],
    }
    for name, ratio in ratios.items():
        print(f"ratio     {name}: {ratio:.3f}", flush=True)
    bytes_each = region_bytes(10**7) / 10**7
    print(f"memory    {bytes_each:.1f} bytes a block with its owners, 16 of them for these; {stats}", flush=True)
    return {
        "prompt_us": {"ours": cost, "original": peer_cost},
        "blocks_per_cpu_sec": {"ours": applied, "original": peer_applied},
        "ratios": ratios,
        "bytes_per_block": bytes_each,
        "index": stats,
    }


def growth() -> list[dict[str, float]]:
    rows = []
    for blocks, workers, everywhere in GROWTH:
        ours = Ours(blocks, workers, everywhere)
        cost = ours.prompt()
        owned = ours.index.stats()["blocks"]
        rows.append({"blocks": blocks, "workers": workers, "owned_blocks": owned} | cost)
        whole = cost["hash, find and score"]
        print(
            f"growth    {blocks:10,d} blocks, {owned:10,d} owned by {workers:5d} workers   "
            f"find {cost['find']:6.2f} us   score {cost['score']:6.2f} us   whole {whole:6.2f} us",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "kv_index.json")
    parser.add_argument("--skip-growth", action="store_true", help="only the main size: 1,000,000 blocks, 64 workers")
    options = parser.parse_args()
    report = compare(options.rounds)
    if not options.skip_growth:
        report["growth"] = growth()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
