"""KServe's inference protocol over HTTP: everything below `/v2` goes to whoever was given to the process for it."""

from __future__ import annotations

import asyncio
from typing import Final

from dynamo_fe.http.errors import error_body, respond_refusal
from dynamo_fe.http.event_stream import HEADERS
from dynamo_fe.http.exchange import Exchange, Send
from dynamo_fe.http.intake import BodyRefused
from dynamo_fe.http.services import Services
from dynamo_fe.protocol.kserve_rest import JSON_LENGTH, RestAnswer, RestRequest

PREFIX: Final = "/v2"


async def kserve(exchange: Exchange, services: Services) -> None:
    """The handler of all of them. When the client goes, the task is cancelled wherever it is."""
    try:
        body = await exchange.body() if exchange.method == "POST" else b""
        await services.intake.check_values(_json_of(body, exchange.header(JSON_LENGTH)))
    except BodyRefused as refused:
        await respond_refusal(exchange, refused.status, error_body(refused.status, refused.text))
        return
    task = asyncio.current_task()
    assert task is not None
    left = False

    def gone() -> None:
        nonlocal left
        left = True
        task.cancel()

    exchange.on_disconnect(gone)
    try:
        await _answered(exchange, services, RestRequest(exchange.method, exchange.path, exchange.headers(), body))
    except asyncio.CancelledError:
        if not left:
            raise
    finally:
        exchange.forget_disconnect()


def _json_of(body: bytes, length: bytes | None) -> bytes:
    """A body without the bytes behind its JSON; all of it where the length is none."""
    return body[: int(length)] if length is not None and length.isdigit() and len(length) < 12 else body


async def _answered(exchange: Exchange, services: Services, request: RestRequest) -> None:
    assert services.kserve is not None
    send: Send | None = None

    async def write(frame: bytes) -> None:
        nonlocal send
        if send is None:
            send = await exchange.start(200, HEADERS)
        await send({"type": "http.response.body", "body": frame, "more_body": True})

    answer: RestAnswer | None = await services.kserve().answer(request, write)
    if answer is not None:
        await exchange.respond(answer.status, answer.headers, answer.body)
        return
    if send is None:
        send = await exchange.start(200, HEADERS)
    await send({"type": "http.response.body", "body": b""})
