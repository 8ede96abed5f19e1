"""A public trace of conversations replayed at our frontend and at the real one, over real workers that tell what they
hold: prompts find their prefixes equally well, and far better than in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.stores import FileStore

TRACE = json.loads((Path(__file__).parent.parent / "fixtures" / "kv" / "mooncake_sample.json").read_text())["requests"]
BLOCK = 16
# one after the other: with more at once the chances of ties and of events under way differ by some percent a run
AT_ONCE = 1
# every replay has tokens of its own: what one has left with the workers must not serve another
SPACES = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("trace")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mocker(
            workers=4, speedup_ratio=5, arguments=("--block-size", str(BLOCK), "--num-gpu-blocks-override", "65536")
        )
        yield cluster


def tokens(blocks: list[int], space: int) -> list[int]:
    """The same tokens for the same blocks, others in another space: a block as digits of a small alphabet."""
    return [3 + (block // 7**at + (space if at == BLOCK - 1 else 0)) % 200 for block in blocks for at in range(BLOCK)]


def ideal() -> float:
    """The share that one worker with room for everything would have."""
    seen: set[int] = set()
    held = total = 0
    for blocks in TRACE:
        held += next((at for at, block in enumerate(blocks) if block not in seen), len(blocks))
        total += len(blocks)
        seen.update(blocks)
    return held / total


async def cached_share(frontend: Frontend) -> float:
    """Replays the trace, in order and some at a time; returns the share of prompt tokens that the workers had."""
    space = next(SPACES)
    cached = total = 0
    lane = asyncio.Semaphore(AT_ONCE)

    # a connection for each, so that every process gets some
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=frontend.url, timeout=60, limits=limits) as source:

        async def one(blocks: list[int]) -> None:
            nonlocal cached, total
            body = {"model": "mock", "prompt": tokens(blocks, space), "max_tokens": 4}
            try:
                answer = await source.post("/v1/completions", json=body)
            finally:
                lane.release()
            assert answer.status_code == 200, answer.text
            usage = answer.json()["usage"]
            cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            total += usage["prompt_tokens"]

        async with asyncio.TaskGroup() as running:
            for blocks in TRACE:
                await lane.acquire()
                running.create_task(one(blocks))
    return cached / total


@pytest.fixture(scope="module")
def in_turn(cluster: Cluster) -> float:
    return asyncio.run(cached_share(cluster.frontend("mock", arguments=("--router-mode", "round-robin"))))


@pytest.fixture(scope="module")
def original(cluster: Cluster) -> float:
    return asyncio.run(cached_share(cluster.real_frontend("mock", arguments=("--router-mode", "kv"))))


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_the_workers_had_as_much_as_with_the_original(
    cluster: Cluster, original: float, in_turn: float, processes: str
) -> None:
    frontend = cluster.frontend("mock", arguments=("--router-mode", "kv", "--workers", processes))
    ours = await cached_share(frontend)
    assert abs(ours - original) <= 0.02
    assert ours > 0.97 * ideal()
    assert ours > 1.4 * in_turn


async def test_by_decisions_alone_several_processes_do_as_well_as_one(cluster: Cluster, in_turn: float) -> None:
    shares = []
    for processes in ("1", "3"):
        arguments = ("--router-mode", "kv", "--no-router-kv-events", "--workers", processes)
        shares.append(await cached_share(cluster.frontend("mock", arguments=arguments)))
    assert abs(shares[0] - shares[1]) <= 0.02
    assert min(shares) > 1.4 * in_turn
