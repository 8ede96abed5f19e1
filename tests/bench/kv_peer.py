"""The real library's side of tests/bench/kv_index.py. Run by the interpreter that has ai-dynamo 1.6.1:

    python -m tests.bench.kv_peer BLOCKS WORKERS ASKED

It fills a tree, then measures whatever it is told to on stdin, one name a line, and answers with one JSON object each.
CPU time is that of all its threads: the tree answers from a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("DYN_LOG", "off")
os.environ.setdefault("DYN_ROUTER_USE_KV_EVENTS", "false")

from dynamo._core import RadixTree, SelectionService, compute_block_hash_for_seq

from tests.bench.kv_sessions import BLOCK_TOKENS, Sessions

CALLS = 1500


def stored(ids: array[int], locals_: array[int], first: int, count: int) -> bytes:
    """One event, as the binding takes it."""
    blocks = [
        {"block_hash": block, "tokens_hash": local, "mm_extra_info": None}
        for block, local in zip(ids[first : first + count], locals_[first : first + count], strict=True)
    ]
    parent = ids[first - 1] if first else None
    event = {"event_id": 1, "dp_rank": 0, "data": {"stored": {"parent_hash": parent, "blocks": blocks}}}
    return json.dumps(event, separators=(",", ":")).encode()


def per_call(act: Callable[[int], object], calls: int = CALLS) -> float:
    """CPU microseconds of one call."""
    begin = time.process_time()
    for number in range(calls):
        act(number)
    return (time.process_time() - begin) / calls * 1e6


class Peer:
    """The tree, filled, and the prompts."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.prompts = [prompt.tolist() for prompt in sessions.prompts()]
        self.locals = [compute_block_hash_for_seq(prompt, BLOCK_TOKENS) for prompt in self.prompts]
        self.tree = RadixTree()
        for worker, ids, locals_ in self.stores():
            self.tree.apply_event(worker, stored(ids, locals_, 0, len(ids)))

    def stores(self) -> Iterator[tuple[int, array[int], array[int]]]:
        return self.sessions.stores([array("Q", hashes) for hashes in self.locals])

    def prompt(self) -> dict[str, float]:
        """Hashing, matching, and both, of one prompt."""
        prompts, locals_, tree = self.prompts, self.locals, self.tree
        count = len(prompts)
        return {
            "hash": per_call(lambda n: compute_block_hash_for_seq(prompts[n % count], BLOCK_TOKENS)),
            "find": per_call(lambda n: tree.find_matches(locals_[n % count]).scores),
            "hash and find": per_call(
                lambda n: tree.find_matches(compute_block_hash_for_seq(prompts[n % count], BLOCK_TOKENS)).scores
            ),
        }

    def apply(self) -> dict[str, float]:
        """Blocks a CPU second, by blocks an event; reading the event's JSON is part of the call."""
        rates = {}
        for chunk in (16, 128):
            tree, events, blocks = RadixTree(), [], 0
            for number, (worker, ids, locals_) in enumerate(self.stores()):
                if number == 1000:
                    break
                for first in range(0, len(ids), chunk):
                    events.append((worker, stored(ids, locals_, first, chunk)))
                blocks += len(ids)
            begin = time.process_time()
            for worker, event in events:
                tree.apply_event(worker, event)
            rates[f"stored by {chunk}"] = blocks / (time.process_time() - begin)
        return rates

    def service(self) -> dict[str, float]:
        """The whole selection, with booking and its log line, by the in-process service with as many workers."""
        return asyncio.run(self._service())

    async def _service(self) -> dict[str, float]:
        service = SelectionService(indexer_threads=1)
        for worker in range(1, self.sessions.workers + 1):
            row = {"worker_id": worker, "model_name": "m", "endpoint": "http://x", "block_size": BLOCK_TOKENS}
            await service.upsert_worker(row)
        requests: list[dict[str, Any]] = [{"model_name": "m", "token_ids": prompt} for prompt in self.prompts[:100]]
        for request in requests:
            await service.select(request)
        begin = time.process_time()
        for number in range(500):
            await service.select(requests[number % len(requests)])
        cost = (time.process_time() - begin) / 500 * 1e6
        service.shutdown()
        return {"select": cost}


def main() -> None:
    blocks, workers, asked = (int(argument) for argument in sys.argv[1:])
    peer = Peer(Sessions(blocks, workers, asked))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(getattr(peer, line.strip())()), flush=True)


if __name__ == "__main__":
    main()
