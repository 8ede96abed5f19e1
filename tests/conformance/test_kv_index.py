"""The prefix index, against what the released library's tree answers (tests/fixtures/kv/radix_scenarios.json).

Where a scenario is not `exact` the real tree forgets blocks that it was not told to forget, depending on how it was
compressed, or blocks that came under other ids; ours answers as the statement in plain Python does.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe._cext.prefix_index import Overlaps, Writer, region_bytes
from tests.reference.prefix_index import Index

SCENARIOS = {
    scenario["name"]: scenario
    for scenario in json.loads((Path(__file__).parent.parent / "fixtures" / "kv" / "radix_scenarios.json").read_text())[
        "scenarios"
    ]
}
# What the real tree raises, by our status.
RAISES = {
    "ok": "ok",
    "parent_block_not_found": "Failed to find parent block",
    "block_not_found": "Failed to find block",
    "invalid_block": "Invalid block sequence",
}


def pairs(blocks: list[list[Any]]) -> list[tuple[int, int]]:
    return [(int(block), int(local)) for block, local in blocks]


def edges(events: list[list[Any]]) -> set[tuple[int, int, int | None, int, int]]:
    """(worker, rank, parent, id, local hash) of every block in a dump, however its runs are cut."""
    found = set()
    for worker, dp_rank, parent, blocks in events:
        before = None if parent is None else int(parent)
        for block, local in pairs(blocks):
            found.add((worker, dp_rank, before, block, local))
            before = block
    return found


class Player:
    """Plays one scenario; expects what the fixture says where it is exact, else what the statement says."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.index = Writer(mmap.mmap(-1, region_bytes(1000, 16)), 16)
        self.statement = Index(16)
        self.overlaps = Overlaps(16)

    def expect(self, ours: object, statement: object, fixture: object) -> None:
        assert ours == (fixture if self.exact else statement)

    def stored(self, op: dict[str, Any]) -> None:
        parent = None if op["parent"] is None else int(op["parent"])
        blocks = pairs(op["blocks"])
        ids, locals_ = [block for block, _ in blocks], [local for _, local in blocks]
        ours = self.index.stored(op["worker"], op["dp_rank"], parent, ids, locals_)
        statement = self.statement.stored(op["worker"], op["dp_rank"], parent, blocks)
        self.expect(RAISES[ours], RAISES[statement], op["result"])

    def removed(self, op: dict[str, Any]) -> None:
        hashes = [int(number) for number in op["hashes"]]
        ours = self.index.removed(op["worker"], op["dp_rank"], hashes)
        statement = self.statement.removed(op["worker"], op["dp_rank"], hashes)
        self.expect(RAISES[ours], RAISES[statement], op["result"])

    def cleared(self, op: dict[str, Any]) -> None:
        assert self.index.cleared(op["worker"], op["dp_rank"]) == op["result"]
        self.statement.cleared(op["worker"], op["dp_rank"])

    def remove_worker(self, op: dict[str, Any]) -> None:
        self.index.remove_worker(op["worker"])
        self.statement.remove_worker(op["worker"])

    clear_all_blocks = remove_worker

    def find(self, op: dict[str, Any]) -> None:
        query = [int(number) for number in op["query"]]
        self.index.find(query, self.overlaps)
        ranks = {slot: (worker, dp_rank) for slot, worker, dp_rank in self.index.ranks()}
        ours = {ranks[slot]: device for slot, device, _, _ in self.overlaps.ranks()}
        statement = {rank: depths[0] for rank, depths in self.statement.find(query).items()}
        fixture = {(worker, dp_rank): score for worker, dp_rank, score in op["scores"]}
        self.expect(ours, statement, fixture)

    def dump(self, op: dict[str, Any]) -> None:
        ours = edges(
            [
                [worker, dp_rank, parent, list(zip(ids, locals_, strict=True))]
                for worker, dp_rank, _, parent, ids, locals_ in self.index.dump()
            ]
        )
        assert ours == edges(op["events"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    player = Player(SCENARIOS[name]["exact"])
    for op in SCENARIOS[name]["ops"]:
        getattr(player, op["op"])(op)
