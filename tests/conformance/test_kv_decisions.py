"""The cost and the choice, against 278 selections of the released router (tests/fixtures/kv/routing_decisions.json).

The load that each selection books is kept here in the plainest way: sets of sequence hashes, sums of tokens.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe._cext.block_hash import local_hashes, sequence_hashes
from dynamo_fe._cext.prefix_index import TIERS, Overlaps, Writer, region_bytes
from dynamo_fe._cext.routing_score import Candidates, Weights

FILE = Path(__file__).parent.parent / "fixtures" / "kv" / "routing_decisions.json"
RUNS = {run["name"]: run for run in json.loads(FILE.read_text())["runs"]}
MAX_RANKS = 16
Rank = tuple[int, int]


@dataclass
class Booking:
    rank: Rank
    blocks: list[int]
    prefill_tokens: int


@dataclass
class Replay:
    """One run: the index, what is booked, and the ranks in the order in which they came."""

    weights: Weights
    block_tokens: int
    index: Writer = field(default_factory=lambda: Writer(mmap.mmap(-1, region_bytes(5000, MAX_RANKS)), MAX_RANKS))
    overlaps: Overlaps = field(default_factory=lambda: Overlaps(MAX_RANKS))
    taints: dict[Rank, set[str]] = field(default_factory=dict)
    booked: dict[str, Booking] = field(default_factory=dict)

    def hashes(self, path: list[int]) -> tuple[list[int], list[int]]:
        """(local, sequence) hashes of a path of blocks."""
        tokens = [block * 100 + number for block in path for number in range(self.block_tokens)]
        local = local_hashes(tokens, self.block_tokens)
        return list(local), list(sequence_hashes(local))

    def worker(self, op: dict[str, Any]) -> None:
        for dp_rank in range(op["dp_size"]):
            self.taints[op["worker"], dp_rank] = set(op["taints"])

    def stored(self, op: dict[str, Any]) -> None:
        local, sequence = self.hashes(op["path"])
        first = op["first"]
        parent = sequence[first - 1] if first else None
        tier = TIERS.index(op["tier"])
        self.index.stored(op["worker"], op["dp_rank"], parent, sequence[first:], local[first:], tier)

    def removed(self, op: dict[str, Any]) -> None:
        _, sequence = self.hashes(op["path"])
        assert self.index.removed(op["worker"], op["dp_rank"], sequence[-1:], TIERS.index(op["tier"])) == "ok"

    def prefill_complete(self, op: dict[str, Any]) -> None:
        self.booked[op["id"]].prefill_tokens = 0

    def free(self, op: dict[str, Any]) -> None:
        del self.booked[op["id"]]

    def eligible(self, op: dict[str, Any]) -> list[Rank]:
        required = set(op.get("routing_constraints", {}).get("required_taints", ()))
        allowed = op.get("allowed_worker_ids")
        ranks = [
            rank
            for rank, taints in self.taints.items()
            if required <= taints and (allowed is None or rank[0] in allowed)
        ]
        target = op.get("affinity_target") or {}
        bound = [rank for rank in ranks if rank[0] == target.get("worker_id") and target["dp_rank"] in (None, rank[1])]
        return bound or ranks

    def candidates(self, op: dict[str, Any], sequence: list[int]) -> Candidates:
        preferred = op.get("routing_constraints", {}).get("preferred_taints", {})
        eligible = self.eligible(op)
        slots = {(worker, dp_rank): slot for slot, worker, dp_rank in self.index.ranks()}
        candidates = Candidates(len(self.taints))
        for row, (rank, taints) in enumerate(self.taints.items()):
            bookings = [booking for booking in self.booked.values() if booking.rank == rank]
            live = {block for booking in bookings for block in booking.blocks}
            candidates.slot[row] = slots.get(rank, -1)
            candidates.eligible[row] = rank in eligible
            candidates.taint_weight[row] = sum(weight for taint, weight in preferred.items() if taint in taints)
            candidates.prefill_tokens[row] = sum(booking.prefill_tokens for booking in bookings)
            candidates.active_requests[row] = len(bookings)
            candidates.active_blocks[row] = len(live)
            candidates.shared_prefix[row] = len([block for block in sequence if block in live])
        return candidates

    def select_and_reserve(self, op: dict[str, Any]) -> None:
        expect = op["expect"]
        local, sequence = self.hashes(op["path"])
        prompt_tokens = len(op["path"]) * self.block_tokens + op["tail"]
        candidates = self.candidates(op, sequence)
        self.index.find(local, self.overlaps)
        candidates.take_overlaps(self.overlaps)
        chosen = candidates.choose(self.weights, prompt_tokens, self.block_tokens, len(sequence), 0.0)
        if "error" in expect:
            assert chosen == -1
            return
        ranks = list(self.taints)
        assert chosen in candidates.ties()
        assert sorted(list(ranks[row]) for row in candidates.ties()) == sorted(expect["acceptable"]), op["id"]
        row = ranks.index((expect["worker_id"], expect["dp_rank"]))
        assert candidates.cost[row] == pytest.approx(expect["cost"], rel=1e-9), op["id"]
        assert [candidates.device[row], candidates.host[row], candidates.disk[row]] == expect["overlap_blocks"]
        prefill = max(0, prompt_tokens - candidates.cached_tokens[row])
        assert prefill == expect["effective_prefill_tokens"]
        self.booked[op["id"]] = Booking(ranks[row], sequence, prefill)


@pytest.mark.parametrize("name", RUNS)
def test_replayed_run(name: str) -> None:
    run = RUNS[name]
    replay = Replay(Weights(**run["config"]), run["block_size"])
    for op in run["ops"]:
        getattr(replay, op["op"])(op)
    assert replay.booked
