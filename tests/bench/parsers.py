"""What reading tool calls and reasoning costs: ours and the real frontend over the same scripted workers, in one run.

    python -m tests.bench.parsers [--rounds N] [--streams N] [--tokens N]

Prose is streamed by a model with the parsers hermes and qwen3 and by one without, the requests being the same; then one
call writes a long argument. The worker is a Python process, so the CPU time of a frontend is the result, not the speed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.bench.process_tree import cpu_secs
from tests.support.frontends import Frontend, our_frontend, real_frontend
from tests.support.models import TINY_MODEL_DIR
from tests.support.peer import ScriptedWorker
from tests.support.report_tokens import encode, expanded
from tests.support.stores import FileStore

MODELS: dict[str, dict[str, str]] = {
    "plain": {},
    "parsed": {"tool_call_parser": "hermes", "reasoning_parser": "qwen3"},
}
TOOL = {"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {}}}}
OPENING = '<tool_call>\n{"name": "write", "arguments": {"text": "'
CLOSING = '"}}\n</tool_call>'
ARGUMENT_KB = (50, 200)


@dataclass
class Contender:
    """A frontend of this run; `costs` are CPU microseconds of a token by model, a figure a round."""

    name: str
    frontend: Frontend
    costs: dict[str, list[float]] = field(default_factory=dict)

    def cost(self, model: str) -> float:
        return statistics.median(self.costs[model])


@contextmanager
def stage() -> Iterator[tuple[dict[str, ScriptedWorker], list[Contender]]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        home = Path(folder)
        store = FileStore(home / "store")
        workers = {}
        for name, config in MODELS.items():
            endpoint = f"dyn://parsers.{name}.generate"
            worker = ScriptedWorker(
                store, TINY_MODEL_DIR, home / name, name=name, endpoint=endpoint, runtime_config=config
            )
            started.callback(worker.stop)
            workers[name] = worker
        for worker in workers.values():
            worker.wait_ready()
        contenders = []
        for name, start in (("ours", our_frontend), ("original", real_frontend)):
            frontend = start(store.environment, log=home / f"{name}.log")
            started.callback(frontend.stop)
            frontend.wait_listed(*workers)
            contenders.append(Contender(name, frontend))
        yield workers, contenders


def body(model: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Write."}]
    return {"model": model, "messages": messages, "tools": [TOOL], "stream": True, "max_tokens": 1 << 20}


async def drain(source: httpx.AsyncClient, contender: Contender, model: str) -> None:
    url = f"{contender.frontend.url}/v1/chat/completions"
    async with source.stream("POST", url, json=body(model)) as answer:
        assert answer.status_code == 200
        async for _ in answer.aiter_raw():
            pass


async def prose(workers: dict[str, ScriptedWorker], contenders: list[Contender], options: argparse.Namespace) -> None:
    """Streams prose in rounds, contender by contender and model by model."""
    item = {"token_ids": encode("a")}
    for worker in workers.values():
        worker.say([{"!repeat": [options.tokens, item]}, {"token_ids": [], "finish_reason": "stop"}])
    tokens = options.tokens * options.streams
    async with httpx.AsyncClient(timeout=600) as source:
        for number in range(options.rounds + 1):
            for contender in contenders:
                for model in MODELS:
                    before = cpu_secs(contender.frontend.process.pid)
                    await asyncio.gather(*(drain(source, contender, model) for _ in range(options.streams)))
                    cost = (cpu_secs(contender.frontend.process.pid) - before) / tokens * 1e6
                    # the first round warms up
                    if number:
                        contender.costs.setdefault(model, []).append(cost)


@dataclass(frozen=True)
class Written:
    """One long argument: milliseconds from the words in front of the call to its first argument and to its end, and CPU
    milliseconds.
    """

    first_ms: float
    whole_ms: float
    cpu_ms: float


async def argument(worker: ScriptedWorker, contender: Contender, size_kb: int) -> Written:
    text = ("lorem ipsum <b> dolor " * 47)[:1024] * size_kb
    parts: list[Any] = [{"text": "Now."}, {"!sleep": 0.2}, {"text": OPENING + text[:16], "step": 8}, {"!sleep": 0.2}]
    worker.say(expanded([*parts, {"text": text[16:] + CLOSING, "step": 8}, {"end": "stop"}]))
    url = f"{contender.frontend.url}/v1/chat/completions"
    before, begun, first, got = cpu_secs(contender.frontend.process.pid), 0.0, 0.0, 0
    async with httpx.AsyncClient(timeout=600) as source, source.stream("POST", url, json=body("parsed")) as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            delta = json.loads(line[6:])["choices"][0]["delta"]
            if delta.get("content"):
                begun = time.perf_counter()
            for part in delta.get("tool_calls") or ():
                piece = part["function"].get("arguments") or ""
                got += len(piece)
                first = first or (time.perf_counter() if piece else 0.0)
    over = time.perf_counter()
    assert got >= len(text), f"{got} of {len(text)} characters"
    cpu = cpu_secs(contender.frontend.process.pid) - before
    # what the worker slept between the two is not the frontend's
    return Written((first - begun - 0.2) * 1e3, (over - begun) * 1e3, cpu * 1e3)


async def run(options: argparse.Namespace) -> None:
    with stage() as (workers, contenders):
        await prose(workers, contenders, options)
        print(f"{'prose, CPU us a token':<28}{'plain':>10}{'parsed':>10}{'ratio':>8}")
        for contender in contenders:
            plain, parsed = contender.cost("plain"), contender.cost("parsed")
            print(f"  {contender.name:<26}{plain:>10.1f}{parsed:>10.1f}{parsed / plain:>8.2f}")
        print(f"{'one argument':<28}{'kB':>6}{'first ms':>10}{'whole ms':>10}{'CPU ms':>10}{'CPU us/kB':>11}")
        for contender in contenders:
            for size_kb in ARGUMENT_KB:
                found = await argument(workers["parsed"], contender, size_kb)
                rate = found.cpu_ms * 1e3 / size_kb
                row = f"{size_kb:>6}{found.first_ms:>10.1f}{found.whole_ms:>10.0f}{found.cpu_ms:>10.0f}{rate:>11.0f}"
                print(f"  {contender.name:<26}{row}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
