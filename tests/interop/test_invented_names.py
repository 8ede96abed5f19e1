"""A name that a client makes up is no label, whatever it asks by it: else anybody could fill the memory of whoever
collects the metrics.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from urllib.parse import quote

import grpc
import httpx

from dynamo_fe.grpc.messages import ModelInferRequest
from tests.support.cluster import Cluster
from tests.support.metrics_page import parse
from tests.support.processes import free_port
from tests.support.stores import FileStore
from tests.support.verdicts import http

MARK = "invented"
LETTERS = 'aZ9 _-./\\"\'\n{}=,\u00e9\u4e2d\U0001f600'


def names() -> list[str]:
    draw = random.Random(11)
    made = ["".join(draw.choice(LETTERS) for _ in range(draw.randint(0, 12))) for _ in range(40)]
    return [f"{text}{MARK}{text}" for text in made]


async def ask_by(client: httpx.AsyncClient, name: str) -> None:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["hi"]}
    path = quote(name, safe="")
    answers = [
        await client.post("/v1/chat/completions", json={"model": name, "messages": [{"role": "user", "content": "x"}]}),
        await client.post("/v1/chat/completions", json={"model": name, "messages": [], "stream": True}),
        await client.post("/v1/completions", json={"model": name, "prompt": "x", "user": name}),
        await client.post("/busy_threshold", json={"model": name, "active_decode_blocks_threshold": 0.5}),
        await client.post(f"/v2/models/{path}/infer", json={"inputs": [tensor]}),
        await client.post(f"/v2/models/{path}/generate", json={"text_input": "x"}),
        await client.get(f"/v2/models/{path}/ready"),
        await client.get(f"/v1/models/{path}"),
        await client.get(f"/v1/models/{path}/ready"),
        await client.get(f"/{path}"),
        await client.request(MARK.upper(), "/v1/models"),
        await client.post("/v1/chat/completions", json={"model": "mock", "messages": [], "x": 1, "user": name}),
    ]
    assert {answer.status_code for answer in answers} <= {400, 404, 405, 503}


async def test_none_becomes_a_label(tmp_path: Path) -> None:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        await asyncio.to_thread(cluster.mock_worker)
        port = free_port()
        frontend = await asyncio.to_thread(cluster.frontend, "mock", arguments=["--grpc-port", str(port)])
        async with http(frontend.url) as client, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for name in names():
                await ask_by(client, name)
                request = ModelInferRequest(model_name=name)
                try:
                    await infer(request.SerializeToString())
                    raise AssertionError("there is no such model")
                except grpc.aio.AioRpcError as error:
                    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
            text = (await client.get("/metrics")).text
    assert MARK not in text.lower()
    models = {label for sample in parse(text) for label in sample[1:] if label.startswith("model=")}
    assert models == {'model="mock"', 'model="unknown_model"'}
