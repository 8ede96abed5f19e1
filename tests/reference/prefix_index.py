"""What cext/prefix_index.pyx does, in plain Python: sets of owned blocks, without a bound on their number.

A block of the device tier is the path of local hashes that leads to it. Each rank has a map from its own ids to paths,
so that two ids may stand for one path. Lower tiers are continuation edges, (parent id or None, local hash) -> child id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

TIERS = ("device", "host_pinned", "disk", "external")
DEVICE, HOST, DISK, EXTERNAL = range(4)
Path = tuple[int, ...]
Edge = tuple[int | None, int]


@dataclass
class Rank:
    paths: dict[int, Path] = field(default_factory=dict)
    edges: dict[int, dict[Edge, int]] = field(default_factory=lambda: {HOST: {}, DISK: {}, EXTERNAL: {}})
    edge_of: dict[int, dict[int, Edge]] = field(default_factory=lambda: {HOST: {}, DISK: {}, EXTERNAL: {}})

    def store(self, parent: int | None, blocks: Sequence[tuple[int, int]]) -> str:
        if parent is not None and parent not in self.paths:
            return "parent_block_not_found"
        for block, local in blocks:
            if block == parent:
                return "invalid_block"
            before = self.paths[parent] if parent is not None else ()
            self.paths.setdefault(block, (*before, local))
            parent = block
        return "ok"

    def store_lower(self, tier: int, parent: int | None, blocks: Sequence[tuple[int, int]]) -> str:
        for block, local in blocks:
            if block == parent:
                return "invalid_block"
            edge = (parent, local)
            if block not in self.edge_of[tier] and edge not in self.edges[tier]:
                self.edges[tier][edge] = block
                self.edge_of[tier][block] = edge
            parent = block
        return "ok"

    def remove(self, tier: int, blocks: Sequence[int]) -> str:
        status = "ok"
        for block in blocks:
            if tier == DEVICE:
                known = self.paths.pop(block, None) is not None
            else:
                edge = self.edge_of[tier].pop(block, None)
                known = edge is not None
                if edge is not None:
                    del self.edges[tier][edge]
            if not known:
                status = "block_not_found"
        return status

    def depths(self, query: Sequence[int]) -> tuple[int, int, int]:
        """Leading blocks on device, then those that host continues with, then those of disk and external."""
        last_id = {path: block for block, path in self.paths.items()}
        device = 0
        while device < len(query) and tuple(query[: device + 1]) in last_id:
            device += 1
        at = device
        block = last_id[tuple(query[:device])] if device else None
        counts = {}
        for tier in (HOST, DISK, EXTERNAL):
            begin = at
            while at < len(query) and (block, query[at]) in self.edges[tier]:
                block = self.edges[tier][block, query[at]]
                at += 1
            counts[tier] = at - begin
        return device, counts[HOST], counts[DISK] + counts[EXTERNAL]


class Index:
    def __init__(self, max_ranks: int = 1024) -> None:
        self.max_ranks = max_ranks
        self.ranks: dict[tuple[int, int], Rank] = {}

    def stored(
        self, worker_id: int, dp_rank: int, parent: int | None, blocks: Sequence[tuple[int, int]], tier: int = DEVICE
    ) -> str:
        key = (worker_id, dp_rank)
        if key not in self.ranks:
            if len(self.ranks) == self.max_ranks:
                return "capacity_exhausted"
            self.ranks[key] = Rank()
        if tier == DEVICE:
            return self.ranks[key].store(parent, blocks)
        return self.ranks[key].store_lower(tier, parent, blocks)

    def removed(self, worker_id: int, dp_rank: int, blocks: Sequence[int], tier: int = DEVICE) -> str:
        return self.ranks.get((worker_id, dp_rank), Rank()).remove(tier, blocks)

    def cleared(self, worker_id: int, dp_rank: int) -> str:
        if (worker_id, dp_rank) in self.ranks:
            self.ranks[worker_id, dp_rank] = Rank()
        return "ok"

    def remove_rank(self, worker_id: int, dp_rank: int) -> bool:
        return self.ranks.pop((worker_id, dp_rank), None) is not None

    def remove_worker(self, worker_id: int) -> int:
        gone = [key for key in self.ranks if key[0] == worker_id]
        for key in gone:
            del self.ranks[key]
        return len(gone)

    def find(self, query: Sequence[int]) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Depths by (worker, rank), of those with a match."""
        found = {key: rank.depths(query) for key, rank in self.ranks.items()}
        return {key: depths for key, depths in found.items() if any(depths)}

    def blocks(self) -> Iterator[tuple[int, int, int, Path | Edge, int]]:
        """(worker_id, dp_rank, tier, path or edge, id) of everything owned."""
        for (worker_id, dp_rank), rank in self.ranks.items():
            for block, path in rank.paths.items():
                yield worker_id, dp_rank, DEVICE, path, block
            for tier, edges in rank.edges.items():
                for edge, block in edges.items():
                    yield worker_id, dp_rank, tier, edge, block
