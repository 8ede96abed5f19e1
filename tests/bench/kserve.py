"""Our gRPC server and the real one in turn over the same real workers, in one run.

    python -m tests.bench.kserve [--rounds N] [--secs S] [--scenarios unary,stream,tensor] [--profile]

As in versus.py: all run all the time, the load goes to one after the other, and what counts is CPU time of the whole
process tree, per unary call, per streamed answer and per tensor of 1 MB there and back. `--profile` adds where our own
time goes, by thread and by function.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from tritonclient.grpc import service_pb2

from tests.bench import process_tree
from tests.bench.profile import COMMAND, WRITE_SECS, print_functions, print_threads
from tests.support.kserve import WORKERS, KserveFrontend, real_kserve
from tests.support.peer import peer_python
from tests.support.processes import Process
from tests.support.stores import FileStore

LLM, TENSOR = "kp-llm", "kp-tensor"
SERVICE = "/inference.GRPCInferenceService/"
TENSOR_BYTES = 1 << 20
STREAMS = 64
# the workers send a chunk each 50 ms
CHUNKS = 60
IDLE_SECS = 3.0


@dataclass(frozen=True)
class Scenario:
    """`at_once` loops run `once`, which returns how many units it brought; `unit` is what is counted."""

    unit: str
    at_once: int
    once: Callable[[Any], Awaitable[int]]


def completion(prompt: str, streaming: bool) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=LLM)
    text = request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    text.contents.bytes_contents.append(prompt.encode())
    flag = request.inputs.add(name="streaming", datatype="BOOL", shape=[1])
    flag.contents.bool_contents.append(streaming)
    serialized: bytes = request.SerializeToString()
    return serialized


def tensor() -> bytes:
    request = service_pb2.ModelInferRequest(model_name=TENSOR)
    request.inputs.add(name="t", datatype="FP32", shape=[TENSOR_BYTES // 4])
    request.raw_input_contents.append(os.urandom(TENSOR_BYTES))
    serialized: bytes = request.SerializeToString()
    return serialized


UNARY, STREAM, LARGE = completion("a few words", False), completion(f"!slow {CHUNKS}", True), tensor()


async def one_unary(channel: Any) -> int:
    await channel.unary_unary(f"{SERVICE}ModelInfer")(UNARY)
    return 1


async def one_stream(channel: Any) -> int:
    call = channel.stream_stream(f"{SERVICE}ModelStreamInfer")()
    await call.write(STREAM)
    await call.done_writing()
    count = 0
    async for _ in call:
        count += 1
    return count


async def one_tensor(channel: Any) -> int:
    answer = await channel.unary_unary(f"{SERVICE}ModelInfer")(LARGE)
    assert len(answer) > TENSOR_BYTES
    return 1


SCENARIOS = {
    "unary": Scenario("unary call", 16, one_unary),
    "stream": Scenario("streamed answer", STREAMS, one_stream),
    "tensor": Scenario("tensor of 1 MB", 2, one_tensor),
}


@dataclass
class Contender:
    """A frontend of this run, and its CPU seconds per unit in each round of each scenario."""

    name: str
    frontend: KserveFrontend
    costs: dict[str, list[float]] = field(default_factory=dict)


async def load(address: str, scenario: Scenario, secs: float) -> int:
    """Units brought in about `secs`; what has begun by then is brought to its end."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    until = time.monotonic() + secs
    async with grpc.aio.insecure_channel(address, options=options) as channel:

        async def loop() -> int:
            count = 0
            while time.monotonic() < until:
                count += await scenario.once(channel)
            return count

        return sum(await asyncio.gather(*(loop() for _ in range(scenario.at_once))))


def measure(contender: Contender, scenario: Scenario, secs: float) -> tuple[int, float]:
    before = process_tree.cpu_secs(contender.frontend.process.pid)
    count = uvloop.run(load(contender.frontend.address, scenario, secs))
    return count, process_tree.cpu_secs(contender.frontend.process.pid) - before


def run_scenario(name: str, contenders: list[Contender], rounds: int, secs: float) -> None:
    scenario = SCENARIOS[name]
    for number in range(rounds + 1):
        for contender in contenders:
            count, cpu = measure(contender, scenario, secs if number else 2.0)
            if number:
                contender.costs.setdefault(name, []).append(cpu / count)
    medians = [statistics.median(contender.costs[name]) for contender in contenders]
    for contender, median in zip(contenders, medians, strict=True):
        each = " ".join(f"{cost * 1e6:.1f}" for cost in contender.costs[name])
        print(f"{name:8s} {contender.name:10s} {median * 1e6:9.1f} CPU-us per {scenario.unit}  ({each})", flush=True)
    print(f"{name:8s} ours / original: {medians[0] / medians[1]:.2f}", flush=True)


def profile(store: FileStore, home: Path, names: list[str], secs: float) -> None:
    """Where our time goes: by thread, then by function under cProfile, which sees the main thread only."""
    written = home / "profile"
    environment = {"PROFILE_FILE": str(written)}
    frontend = KserveFrontend(store, home / "profiled.log", command=COMMAND, environment=environment)
    try:
        frontend.wait_ready(LLM, TENSOR)
        pid = max(process_tree.descendants(frontend.process.pid)[1:], key=process_tree.cpu_secs)
        for name in names:
            scenario = SCENARIOS[name]
            before = process_tree.threads(pid)
            count = uvloop.run(load(frontend.address, scenario, secs))
            print(f"{name}: {count} x {scenario.unit}")
            print_threads(before, process_tree.threads(pid), count, scenario.unit)
            written.unlink(missing_ok=True)
            os.kill(pid, signal.SIGUSR2)
            count = uvloop.run(load(frontend.address, scenario, secs))
            os.kill(pid, signal.SIGUSR2)
            frontend.process.wait_until(written.exists, "the profile", WRITE_SECS)
            time.sleep(1.0)
            print_functions(written, count, scenario.unit, 25)
    finally:
        frontend.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each scenario, after one to warm up")
    parser.add_argument("--secs", type=float, default=6.0, help="length of one load")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--profile", action="store_true", help="then profile ours")
    options = parser.parse_args()
    names = options.scenarios.split(",")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        store = FileStore(home / "store")
        command = [peer_python(), WORKERS]
        stack.enter_context(Process(command, log=home / "workers.log", environment=store.environment))
        contenders = [
            Contender("ours", KserveFrontend(store, home / "ours.log")),
            Contender("original", real_kserve(store, home / "original.log")),
        ]
        for contender in contenders:
            stack.callback(contender.frontend.stop)
        for contender in contenders:
            contender.frontend.wait_ready(LLM, TENSOR)
        time.sleep(IDLE_SECS)
        for name in names:
            run_scenario(name, contenders, options.rounds, options.secs)
        for contender in contenders:
            memory = process_tree.memory(contender.frontend.process.pid)
            print(f"{contender.name:10s} loaded: RSS {memory.rss_mb:4.0f} MB  PSS {memory.pss_mb:4.0f} MB")
        if options.profile:
            profile(store, home, names, options.secs)


if __name__ == "__main__":
    main()
