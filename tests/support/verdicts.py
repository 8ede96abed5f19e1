"""How a chat request ended, judged as a client would: whole, or with an error that has a type, or neither."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

HELLO: Final = [{"role": "user", "content": "hello"}]
# An error of any other status would be the client's fault, or no answer of ours.
TYPED: Final = frozenset({500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Verdict:
    """`status` 200 is a whole answer with its `text`; else the status of the error, in or before the stream. `broken`
    tells what was neither.
    """

    status: int
    text: str = ""
    secs: float = 0.0
    first_secs: float = 0.0
    broken: str = ""
    tokens: int = 0

    @property
    def whole(self) -> bool:
        return self.status == 200 and not self.broken


@dataclass
class Tally:
    """What became of many requests."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(verdict.status for verdict in self.verdicts)

    @property
    def broken(self) -> list[str]:
        return [verdict.broken for verdict in self.verdicts if verdict.broken]

    def slowest_secs(self) -> float:
        return max(verdict.secs for verdict in self.verdicts)

    def first_token_secs(self, quantile: float) -> float:
        """Of the whole answers."""
        times = sorted(verdict.first_secs for verdict in self.verdicts if verdict.whole)
        return times[min(int(len(times) * quantile), len(times) - 1)]


def http(url: str, timeout_secs: float = 60.0) -> httpx.AsyncClient:
    """A client that opens as many connections as are needed and never tries again."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, timeout=timeout_secs, limits=limits)


async def chat(client: httpx.AsyncClient, stream: bool, request_id: str = "", **fields: Any) -> Verdict:
    """One request and its verdict; never raises."""
    headers = {"x-dynamo-request-id": request_id} if request_id else {}
    body = {"model": "mock", "messages": HELLO, "stream": stream, **fields}
    began = time.monotonic()
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            first, parts = 0.0, []
            async for part in answer.aiter_bytes():
                first = first or time.monotonic() - began
                parts.append(part)
            raw = b"".join(parts)
    except httpx.HTTPError as error:
        return Verdict(0, secs=time.monotonic() - began, broken=f"{type(error).__name__}: {error}")
    secs = time.monotonic() - began
    if answer.status_code != 200:
        return _refused(answer.status_code, raw, secs)
    return _streamed(raw, secs, first) if stream else _folded(raw, secs)


def _refused(status: int, raw: bytes, secs: float) -> Verdict:
    try:
        error = json.loads(raw)
        ok = status in TYPED and error["code"] == status and error["error"]["message"] == error["message"]
    except (ValueError, KeyError, TypeError):
        ok = False
    return Verdict(status, secs=secs, broken="" if ok else f"{status} {raw[:200]!r}")


def _folded(raw: bytes, secs: float) -> Verdict:
    body = json.loads(raw)
    choice = body["choices"][0]
    broken = "" if choice["finish_reason"] in ("stop", "length") else f"finish {choice['finish_reason']}"
    tokens = body["usage"]["completion_tokens"]
    return Verdict(200, choice["message"]["content"], secs, secs, broken, tokens)


def _streamed(raw: bytes, secs: float, first: float) -> Verdict:
    events = [event for event in raw.split(b"\n\n") if event and not event.startswith(b":")]
    if not events or events[-1] != b"data: [DONE]":
        return Verdict(200, secs=secs, broken=f"ended with {raw[-120:]!r}")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    if chunks and "error" in chunks[-1]:
        status = chunks[-1]["error"]["code"]
        return Verdict(status, secs=secs, broken="" if status in TYPED else f"error {chunks[-1]}")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    roles = [choice["delta"]["role"] for choice in choices if choice["delta"].get("role")]
    tokens = sum(chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage"))
    whole = finishes in (["stop"], ["length"]) and len(roles) <= max(len(choices), 1)
    return Verdict(200, text, secs, first, "" if whole else f"finishes {finishes}", tokens)


async def answering(client: httpx.AsyncClient, count: int) -> None:
    """Waits until so many requests are answered by workers."""
    async with asyncio.timeout(60):
        while f'dynamo_fe_worker_requests{{stage="answering"}} {count}\n' not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)


async def at_most(parallel: int, requests: Iterable[Awaitable[Verdict]]) -> Tally:
    """Runs them, so many at once."""
    gate = asyncio.Semaphore(parallel)

    async def one(request: Awaitable[Verdict]) -> Verdict:
        async with gate:
            return await request

    return Tally(list(await asyncio.gather(*(one(request) for request in requests))))
