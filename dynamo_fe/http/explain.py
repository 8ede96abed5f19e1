"""Why a request goes where it goes: beside the answer in a header, or in its place.

`x-dynamo-fe-explain: true` asks for the first, `only` for the second: nothing is executed then, nor booked.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from dynamo_fe.http.errors import respond_error
from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.services import Services
from dynamo_fe.pipeline.dispatch import Job
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.protocol.errors import RequestError

_ASKED: Final = b"x-dynamo-fe-explain"
_ANSWERED: Final = b"x-dynamo-fe-explanation"
# clients limit the size of a head; the cheapest candidates come first
_MOST_BYTES: Final = 8 << 10

Wanted = Literal["no", "beside", "only"]


def wanted(exchange: Exchange) -> Wanted:
    """What the request asks for."""
    given = (exchange.header(_ASKED) or b"").strip().lower()
    return "only" if given == b"only" else "beside" if given in (b"true", b"1") else "no"


def add_header(exchange: Exchange, jobs: list[Job]) -> None:
    """Puts the explanation of the first worker request on the head of the answer; before that goes out."""
    explanation = jobs[0].explanation if jobs else None
    if explanation is not None:
        exchange.always = [*exchange.always, (_ANSWERED, _fitting(explanation))]


async def answer(exchange: Exchange, services: Services, jobs: list[Job], meter: Meter) -> None:
    """Answers with the explanations of all worker requests, none of which is sent."""
    try:
        found = [services.dispatcher.explained(job) for job in jobs]
    except RequestError as error:
        meter.failed(error)
        await respond_error(exchange, error)
        return
    await exchange.respond(200, [JSON_TYPE], orjson.dumps({"model": meter.model, "explanations": found}))
    meter.succeeded()


def _fitting(explanation: dict[str, Any]) -> bytes:
    candidates = explanation["candidates"]
    shown = len(candidates)
    while True:
        left_out = explanation["candidates_left_out"] + len(candidates) - shown
        text = orjson.dumps({**explanation, "candidates": candidates[:shown], "candidates_left_out": left_out})
        if len(text) <= _MOST_BYTES or not shown:
            return text
        shown //= 2
