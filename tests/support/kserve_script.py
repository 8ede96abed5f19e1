"""A real Dynamo worker of text and tensor models that says what a case of tests/fixtures/kserve tells it.

Runs under the interpreter that has ai-dynamo 1.6.1. CONTROL/models.json lists what to register; the k-th request since
CONTROL/say.json changed plays its k-th entry: `yields` item by item, then `raises`. Each request is written down in
CONTROL/saw.jsonl as {"id", "metadata", "request"}.
"""

import argparse
import asyncio
import base64
import builtins
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dynamo.llm import HttpError, ModelInput, ModelType, WorkerType, register_model
from dynamo.runtime import DistributedRuntime


class Script:
    """What to say next, and the record of what was asked."""

    def __init__(self, control: Path) -> None:
        self._say = control / "say.json"
        self._saw = control / "saw.jsonl"
        self._stamp: tuple[int, int] | None = None
        self._since_change = 0

    def next(self) -> dict[str, Any]:
        status = self._say.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._stamp, self._since_change = stamp, 0
        entries = json.loads(self._say.read_text())
        self._since_change += 1
        entry: dict[str, Any] = entries[self._since_change - 1] if self._since_change <= len(entries) else {}
        return entry

    def note(self, entry: dict[str, Any]) -> None:
        with self._saw.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def plain(value: Any) -> Any:
    """A JSON value with the bytes that it stands for."""
    if isinstance(value, dict):
        return base64.b64decode(value["$b64"]) if "$b64" in value else {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def failure(told: dict[str, Any]) -> Exception:
    if told["type"] == "HttpError":
        refused: Exception = HttpError(told["code"], told["message"])
        return refused
    error: Exception = getattr(builtins, told["type"])(told["message"])
    return error


def make_handler(script: Script) -> Any:
    async def handler(request: Any, context: Any) -> AsyncIterator[Any]:
        entry = script.next()
        script.note({"id": context.id(), "metadata": dict(context.metadata.items()), "request": request})
        for item in entry.get("yields", ()):
            yield plain(item)
        if entry.get("raises"):
            raise failure(entry["raises"])

    return handler


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", required=True, type=Path)
    parser.add_argument("--discovery-backend", required=True)
    options = parser.parse_args()
    runtime = DistributedRuntime(asyncio.get_running_loop(), options.discovery_backend, "tcp")
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, runtime.shutdown)
    handler = make_handler(Script(options.control))
    serving = []
    for number, model in enumerate(json.loads((options.control / "models.json").read_text())):
        endpoint = runtime.endpoint(f"kserve.m{number}.generate")
        more: dict[str, Any] = {"skip_model_assets": True} if model["model_input"] == "Text" else {}
        config = model.get("tensor_model_config")
        if config is not None:
            if "triton_model_config" in config:
                config["triton_model_config"] = bytes(config["triton_model_config"])
            more["tensor_model_config"] = config
        await register_model(
            getattr(ModelInput, model["model_input"]),
            getattr(ModelType, model["model_type"]),
            endpoint,
            model["model_name"],
            model["model_name"],
            worker_type=WorkerType.Aggregated,
            **more,
        )
        serving.append(asyncio.ensure_future(endpoint.serve_endpoint(handler)))
    await asyncio.gather(*serving)


if __name__ == "__main__":
    asyncio.run(main())
