"""What a frontend in KV mode thinks its ranks hold, asked from outside, and what they were given."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

from tests.support.asking import ask, until
from tests.support.frontends import Frontend

BLOCK = 16
MOCKER = ("--block-size", str(BLOCK), "--data-parallel-size", "2")
# connections until it is as good as certain that every process has been asked
ROUNDS = 8

Rank = tuple[int, int]


def prompt(number: int) -> list[dict[str, str]]:
    """One that no other begins like."""
    return [{"role": "user", "content": f"{number} " * 120}]


def chat(frontend: Frontend, number: int, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    body = {"model": "mock", "messages": prompt(number), "max_tokens": 2, "nvext": {"extra_fields": ["worker_id"]}}
    status, text = ask(f"{frontend.url}/v1/chat/completions", body, headers)
    return status, json.loads(text)


def place(frontend: Frontend, number: int, rank: Rank) -> int:
    """Has a rank compute a prompt; the full blocks of it."""
    pin = {"x-worker-instance-id": str(rank[0]), "x-dp-rank": str(rank[1])}
    status, answer = chat(frontend, number, pin)
    assert status == 200, answer
    return int(answer["usage"]["prompt_tokens"]) // BLOCK


def known(frontend: Frontend, number: int) -> dict[Rank, int]:
    """The blocks of a prompt that each rank holds on device, as the router thinks; empty while there is no rank."""
    status, answer = chat(frontend, number, {"x-dynamo-fe-explain": "only"})
    if status != 200:
        return {}
    candidates = answer["explanations"][0]["candidates"]
    return {(each["worker_id"], each["dp_rank"]): each["overlap"]["device"] for each in candidates}


def gauge(frontend: Frontend, family: str, what: str) -> float:
    with urllib.request.urlopen(f"{frontend.url}/metrics", timeout=10) as answer:
        found = re.search(rf'^{family}{{what="{what}"}} (\S+)$', answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0


class Shadow:
    """What ranks were given, to hold the router's view against."""

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self.blocks: dict[int, tuple[Rank, int]] = {}

    def fill(self, ranks: list[Rank]) -> None:
        """A prompt of its own to each rank."""
        for rank in ranks:
            number = len(self.blocks)
            self.blocks[number] = rank, place(self.frontend, number, rank)

    def is_known_to(self, frontend: Frontend) -> bool:
        """Whether each prompt is known where it is, and nowhere else."""
        for number, (rank, blocks) in self.blocks.items():
            found = known(frontend, number)
            if {rank: depth for rank, depth in found.items() if depth} != {rank: blocks}:
                return False
        return True

    def forget(self, workers: set[int]) -> None:
        """Those workers are gone, and what they held with them."""
        self.blocks = {number: held for number, held in self.blocks.items() if held[0][0] not in workers}


def ranks_of(frontend: Frontend, count: int) -> list[Rank]:
    """Waits until so many ranks are known, to every process: each connection is one of any."""
    found: list[dict[Rank, int]] = []

    def all_known() -> bool:
        found[:] = (known(frontend, 999) for _ in range(ROUNDS))
        return all(len(ranks) == count for ranks in found)

    until(all_known, f"{count} ranks")
    return sorted(found[0])
