"""`--workers N`: several serving processes that look like one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.asking import until
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.load import client
from tests.support.stores import FileStore

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


@pytest.fixture
def frontend(cluster: Cluster) -> Frontend:
    cluster.mock_worker("--decode-tokens-per-sec", "200", "--prefill-tokens-per-sec", "100000")
    return cluster.frontend("mock", arguments=["--workers", "2"])


def total(frontend: Frontend, name: str) -> float:
    """The sum of a metric over its labels."""
    with urllib.request.urlopen(f"{frontend.url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return sum(float(number) for number in re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))


def serving_processes(frontend: Frontend) -> list[int]:
    pid = frontend.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_metrics_are_those_of_all_processes(frontend: Frontend) -> None:
    # A connection each, so that both processes get some.
    for _ in range(20):
        async with client(frontend.url) as source:
            await source.chat.completions.create(model="mock", messages=HELLO, max_tokens=2)
    name = "dynamo_frontend_requests_total"
    await asyncio.to_thread(until, lambda: total(frontend, name) == 20, "all of them counted")
    assert [await asyncio.to_thread(total, frontend, name) for _ in range(6)] == [20] * 6


async def test_a_killed_process_takes_only_its_own_streams(frontend: Frontend) -> None:
    ends: Counter[str] = Counter()

    async def ask() -> None:
        async with client(frontend.url) as source:
            try:
                stream = await source.chat.completions.create(
                    model="mock", messages=HELLO, max_tokens=60, stream=True, extra_body={"ignore_eos": True}
                )
                tokens = len([chunk async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])
                ends["whole" if tokens else "empty"] += 1
            except openai.APIStatusError as refused:
                ends[str(refused.status_code)] += 1
            except (openai.APIConnectionError, OSError):
                ends["cut"] += 1
            except Exception as error:
                ends["cut" if "incomplete" in str(error) or "peer closed" in str(error) else repr(error)] += 1

    running = [asyncio.create_task(ask()) for _ in range(20)]
    await asyncio.sleep(0.15)
    os.kill(serving_processes(frontend)[0], signal.SIGKILL)
    for _ in range(60):
        running.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.03)
    await asyncio.gather(*running)
    assert set(ends) <= {"whole", "cut"} and ends["cut"] <= 25 and ends["whole"] >= 55, ends
    assert len(serving_processes(frontend)) == 2
