"""A real Dynamo worker that says exactly what it is told to say, and writes down what it is asked.

Runs under the interpreter that has ai-dynamo 1.6.1 and registers a model through its dynamo.runtime and dynamo.llm API.
For every request it appends {"n", "id", "metadata", "request"} to CONTROL/saw.jsonl, then replays CONTROL/say.json.

say.json is a list (the script of every request) or {"scripts": [list, ...]}: the k-th request since the file changed
gets the k-th list, the last one repeats. An entry is an output item sent as it is, unless it has one of these keys:
  {"!sleep": 0.2}                              wait, seconds
  {"!raise": "message"}                        raise Exception(message)
  {"!raise": ["InvalidArgument", "message"]}   raise one of dynamo.llm.exceptions or builtins
  {"!http": [429, "message"]}                  raise dynamo.llm.exceptions.HttpError
  {"!die": 9}                                  end the process at once by this signal (a crash)
  {"!wait_cancel": 5}                          wait until the request is cancelled, at most so many seconds
  {"!wait_file": "/path"}                      wait until there is such a file
  {"!item": X}                                 send X even if it is not an object
  {"!repeat": [n, item]}                       send item n times, or until the request is cancelled
Without say.json it echoes the prompt's tokens, then stops.

When a request ends, {"n", "end": true, "sent", "stopped", "killed", "at"} follows in saw.jsonl; `at` is CLOCK_MONOTONIC
in seconds, which all processes of a machine share.
"""

import argparse
import asyncio
import builtins
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dynamo.llm import ModelInput, ModelRuntimeConfig, ModelType, WorkerType, register_model
from dynamo.llm import exceptions as dynamo_exceptions
from dynamo.runtime import DistributedRuntime


class Script:
    """What to say next, and the record of what was asked."""

    def __init__(self, control: Path) -> None:
        self._say = control / "say.json"
        self._saw = control / "saw.jsonl"
        self._stamp: tuple[int, int] | None = None
        self._since_change = 0
        self.requests = 0

    def next(self) -> list[Any] | None:
        self.requests += 1
        try:
            status = self._say.stat()
        except FileNotFoundError:
            return None
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._stamp, self._since_change = stamp, 0
        say = json.loads(self._say.read_text())
        script: list[Any] = say
        if isinstance(say, dict):
            script = say["scripts"][min(self._since_change, len(say["scripts"]) - 1)]
        self._since_change += 1
        return script

    def log(self, entry: dict[str, Any]) -> None:
        with self._saw.open("a") as file:
            file.write(json.dumps(entry, default=repr) + "\n")


def echo(request: Any) -> list[Any]:
    token_ids = request.get("token_ids", []) if isinstance(request, dict) else []
    return [{"token_ids": [token]} for token in token_ids] + [{"token_ids": [], "finish_reason": "stop"}]


def exception(kind: str, message: str) -> Exception:
    error: Exception = (getattr(dynamo_exceptions, kind, None) or getattr(builtins, kind))(message)
    return error


async def play(entry: Any, context: Any) -> AsyncIterator[Any]:
    """The items that one entry of the script stands for."""
    if not isinstance(entry, dict):
        yield entry
    elif "!sleep" in entry:
        await asyncio.sleep(entry["!sleep"])
    elif "!raise" in entry:
        reason = entry["!raise"]
        raise Exception(reason) if isinstance(reason, str) else exception(*reason)
    elif "!http" in entry:
        raise dynamo_exceptions.HttpError(*entry["!http"])
    elif "!die" in entry:
        os.kill(os.getpid(), entry["!die"])
    elif "!wait_cancel" in entry:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(context.async_killed_or_stopped(), entry["!wait_cancel"])
    elif "!wait_file" in entry:
        while not Path(entry["!wait_file"]).exists():
            await asyncio.sleep(0.01)
    elif "!repeat" in entry:
        times, item = entry["!repeat"]
        for _ in range(times):
            if context.is_stopped() or context.is_killed():
                break
            yield item
    else:
        yield entry.get("!item", entry)


def make_handler(script: Script) -> Any:
    async def handler(request: Any, context: Any) -> AsyncIterator[Any]:
        entries = script.next()
        number = script.requests
        script.log({"n": number, "id": context.id(), "metadata": context.metadata.copy(), "request": request})
        sent = 0
        try:
            for entry in echo(request) if entries is None else entries:
                async for item in play(entry, context):
                    yield item
                    sent += 1
        finally:
            stopped, killed = context.is_stopped(), context.is_killed()
            at = time.monotonic()
            script.log({"n": number, "end": True, "sent": sent, "stopped": stopped, "killed": killed, "at": at})

    return handler


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--control", required=True, type=Path, help="directory of say.json and saw.jsonl")
    parser.add_argument("--types", default="Chat,Completions")
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--input", default="Tokens", help="a name of ModelInput")
    parser.add_argument("--worker-type", default="Aggregated", help="a name of WorkerType")
    parser.add_argument("--needs", default="[]", help='JSON, the names of WorkerType: [["Prefill"]]')
    parser.add_argument("--lora", action="append", default=[], help="an adapter to register on the model")
    parser.add_argument("--register", default="{}", help="JSON of further arguments of register_model")
    parser.add_argument("--runtime-config", default="{}", help="JSON of ModelRuntimeConfig attributes")
    return parser.parse_args()


def needs(text: str) -> list[list[Any]]:
    return [[getattr(WorkerType, name) for name in every] for every in json.loads(text)]


async def main() -> None:
    options = arguments()
    options.control.mkdir(parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    runtime = DistributedRuntime(
        loop, os.environ["DYN_DISCOVERY_BACKEND"], os.environ.get("DYN_REQUEST_PLANE", "tcp"),
        event_plane=os.environ.get("DYN_EVENT_PLANE"),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.shutdown)
    endpoint = runtime.endpoint(options.endpoint)
    config = ModelRuntimeConfig()
    for name, value in json.loads(options.runtime_config).items():
        if name == "structural_tag":
            config.set_structural_tag(value)
        else:
            setattr(config, name, value)
    first, *more = (getattr(ModelType, name) for name in options.types.split(","))
    for kind in more:
        first = first | kind
    more_arguments = {"needs": needs(options.needs)} | json.loads(options.register)
    for adapter in [None, *options.lora]:
        names = {"model_name": options.model_name}
        if adapter is not None:
            names = {"lora_name": adapter, "base_model_path": options.model_path}
        await register_model(
            getattr(ModelInput, options.input), first, endpoint, options.model_path, **names,
            worker_type=getattr(WorkerType, options.worker_type), runtime_config=config,
            kv_cache_block_size=options.block_size, **more_arguments,
        )
    await endpoint.serve_endpoint(make_handler(Script(options.control)), graceful_shutdown=True)


if __name__ == "__main__":
    asyncio.run(main())
