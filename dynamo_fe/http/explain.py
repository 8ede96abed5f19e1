"""Why a request goes where it goes: beside the answer in a header, or in its place.

`x-dynamo-fe-explain: true` asks for the first, `only` for the second: nothing is executed then, nor booked;
`false` is as good as none. Of several prompts each has an explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson

from dynamo_fe.http.errors import respond_error
from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.services import Services
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError

Wanted = Literal["no", "beside", "only"]

_ASKED: Final = b"x-dynamo-fe-explain"
_WANTED: Final[dict[bytes, Wanted]] = {
    b"": "no", b"false": "no", b"0": "no", b"true": "beside", b"1": "beside", b"only": "only"
}  # fmt: skip
_ANSWERED: Final = b"x-dynamo-fe-explanation"
# clients limit the size of a head and the number of headers; the cheapest candidates come first
_MOST_BYTES: Final = 8 << 10
_MOST_PROMPTS: Final = 32
# of a value that is refused
_SHOWN_BYTES: Final = 64


def wanted(exchange: Exchange) -> Wanted:
    """What the request asks for. Raises Refusal."""
    given = (exchange.header(_ASKED) or b"").strip().lower()
    found = _WANTED.get(given)
    if found is None:
        text = f"{_ASKED.decode()} must be true, only or false, got {given[:_SHOWN_BYTES].decode(errors='replace')!r}"
        raise Refusal.invalid(text)
    return found


def add_header(exchange: Exchange, jobs: list[Job]) -> None:
    """Puts the explanations on the head of the answer, before that goes out: a header for each of the first prompts."""
    told = [each for each in _numbered([job.explanation for job in jobs]) if each is not None][:_MOST_PROMPTS]
    most_bytes = _MOST_BYTES // max(1, len(told))
    exchange.always = [*exchange.always, *((_ANSWERED, _fitting(each, most_bytes)) for each in told)]


async def answer(exchange: Exchange, services: Services, jobs: list[Job], meter: Meter) -> None:
    """Answers with the explanations of all worker requests, none of which is sent."""
    try:
        found = _numbered([services.dispatcher.explained(job) for job in jobs])
    except RequestError as error:
        meter.failed(error)
        await respond_error(exchange, error)
        return
    await exchange.respond(200, [JSON_TYPE], orjson.dumps({"model": meter.model, "explanations": found}))
    meter.succeeded()


def _numbered(explanations: Sequence[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """Of several prompts each explanation says which one it is about, from 0 on, and of how many."""
    count = len(explanations)
    if count == 1:
        return [*explanations]
    return [each and {"prompt": at, "prompts": count, **each} for at, each in enumerate(explanations)]


def _fitting(explanation: dict[str, Any], most_bytes: int) -> bytes:
    candidates = explanation["candidates"]
    shown = len(candidates)
    while True:
        left_out = explanation["candidates_left_out"] + len(candidates) - shown
        text = orjson.dumps({**explanation, "candidates": candidates[:shown], "candidates_left_out": left_out})
        if len(text) <= most_bytes or not shown:
            return text
        shown //= 2
