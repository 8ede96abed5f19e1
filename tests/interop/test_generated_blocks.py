"""Blocks that a worker generates are cached as those of prompts are: as by the real mock engine, and for the next turn
of a conversation to find.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, chat, until
from tests.support.cluster import Cluster
from tests.support.kv_follower import KvFollower
from tests.support.stores import FileStore

BLOCK = 16
PROMPT_TOKENS = 28
# how many blocks more after an answer of so many tokens: one is full with 4 tokens, and the next with 20
ANSWERS = {1: 1, 4: 1, 5: 2, 20: 2, 21: 3}


async def blocks_of_answers(cluster: Cluster) -> list[int]:
    """How many blocks the worker holds more after an answer of each length, to a prompt of its own."""
    frontend = cluster.frontend("mock")
    found = []
    async with KvFollower(cluster.store.environment) as follower:
        await follower.until(lambda: len(follower.ranks()) == 1)
        before = 0
        for tokens, more in ANSWERS.items():
            body = {"model": "mock", "prompt": list(range(tokens + 10, tokens + 10 + PROMPT_TOKENS))}
            limits = {"max_tokens": tokens, "ignore_eos": True}
            status, text = await asyncio.to_thread(ask, f"{frontend.url}/v1/completions", body | limits)
            assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == tokens, text
            # what it says it holds may come after the answer
            await follower.until(lambda least=before + more: sum(map(len, follower.index.held().values())) >= least)  # type: ignore[misc]
            (held,) = (await follower.until_right()).values()
            found.append(len(held) - before)
            before = len(held)
    return found


async def test_they_are_stored_when_the_real_mock_engine_stores_them(tmp_path: Path) -> None:
    found = []
    for kind in ("real", "ours"):
        home = tmp_path / kind
        home.mkdir()
        with Cluster(FileStore(home / "store"), home) as cluster:
            if kind == "real":
                cluster.mocker(speedup_ratio=0, arguments=("--block-size", str(BLOCK)))
            else:
                cluster.mock_worker("--speedup-ratio", "0", "--kv-block-size", str(BLOCK))
            found.append(await blocks_of_answers(cluster))
    assert found[0] == found[1] == list(ANSWERS.values())


@pytest.mark.parametrize("question", ["Tell me of the sea", "And what of the hills"])
def test_the_next_turn_finds_the_answer_in_the_cache(tmp_path: Path, question: str) -> None:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        frontend = cluster.frontend("mock", arguments=("--mock-workers", "4", "--router-mode", "kv"))
        messages = [{"role": "user", "content": question}]
        status, first = chat(frontend.url, "mock", messages=messages, max_tokens=300, min_tokens=300)
        assert status == 200, first
        second: dict[str, Any] = {"model": "mock", "max_tokens": 1}
        second["messages"] = [*messages, first["choices"][0]["message"], {"role": "user", "content": "Go on"}]
        # the first paragraph of the answer: where it ends, its text becomes other tokens than were said
        least = first["usage"]["prompt_tokens"] // BLOCK + 4

        def known() -> int:
            """Blocks of the second turn that the router knows of; nothing is executed."""
            status, text = ask(f"{frontend.url}/v1/chat/completions", second, {"x-dynamo-fe-explain": "only"})
            assert status == 200, text
            (explanation,) = json.loads(text)["explanations"]
            return max(candidate["overlap"]["device"] for candidate in explanation["candidates"])

        until(lambda: known() >= least, "the answer in the index")
        status, text = ask(f"{frontend.url}/v1/chat/completions", second)
        assert status == 200, text
        assert json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"] >= least * BLOCK
