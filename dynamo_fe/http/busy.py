"""`/busy_threshold`: from which load on a model's workers count as busy."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any, Final

import msgspec
import orjson

from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.intake import BodyRefused
from dynamo_fe.http.parse import is_json, type_text
from dynamo_fe.http.services import Services
from dynamo_fe.routing.busy_thresholds import BusyThreshold

_TEXT_TYPE: Final = (b"content-type", b"text/plain; charset=utf-8")
_LIMIT_BYTES: Final = 2 << 20


class _Change(msgspec.Struct):
    model: str
    active_decode_blocks_threshold: float | None = None
    active_prefill_tokens_threshold: Annotated[int, msgspec.Meta(ge=0)] | None = None
    active_prefill_tokens_threshold_frac: float | None = None


async def show_thresholds(exchange: Exchange, services: Services) -> None:
    """`GET /busy_threshold`: of every model that is served; beside gRPC of none, as in the original."""
    names = () if services.settings.grpc_only else services.registry.listing()
    entries = [_entry(name, services.busy_thresholds.of(name)) for name in names]
    await _json(exchange, 200, {"thresholds": entries})


async def change_thresholds(exchange: Exchange, services: Services) -> None:
    """`POST /busy_threshold`: sets what is given and answers with what holds then; nothing given only asks."""
    if not is_json(exchange):
        await exchange.respond(415, [_TEXT_TYPE], b"Expected request with `Content-Type: application/json`")
        return
    try:
        body = await exchange.body(_LIMIT_BYTES)
    except BodyRefused as refused:
        await exchange.respond(refused.status, [_TEXT_TYPE], refused.text.encode())
        return
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        await exchange.respond(400, [_TEXT_TYPE], f"Failed to parse the request body as JSON: {error}".encode())
        return
    try:
        change = msgspec.convert(document, _Change)
    except msgspec.ValidationError as error:
        text = f"Failed to deserialize the JSON body into the target type: {type_text(str(error))}"
        await _json(exchange, 422, {"error": text})
        return
    status, answer = _changed(change, services)
    await _json(exchange, status, answer)


def _changed(change: _Change, services: Services) -> tuple[int, dict[str, Any]]:
    wrong = _out_of_range(change)
    if wrong is not None:
        return 400, {"error": wrong}
    given = BusyThreshold(
        change.active_decode_blocks_threshold,
        change.active_prefill_tokens_threshold,
        change.active_prefill_tokens_threshold_frac,
    )
    thresholds = services.busy_thresholds
    if given == BusyThreshold():
        return 200, _entry(change.model, thresholds.of(change.model))
    if change.model not in services.registry.listing():
        text = f"Model '{change.model}' not found. Thresholds can only be set for discovered models."
        return 404, {"error": text}
    try:
        return 200, _entry(change.model, thresholds.change(change.model, given))
    except ValueError as full:
        return 400, {"error": str(full)}


def _out_of_range(change: _Change) -> str | None:
    decode, share = change.active_decode_blocks_threshold, change.active_prefill_tokens_threshold_frac
    if decode is not None and not 0 <= decode <= 1:
        return f"active_decode_blocks_threshold must be between 0.0 and 1.0, got {decode:g}"
    if share is not None and not (math.isfinite(share) and share >= 0):
        text = "active_prefill_tokens_threshold_frac must be a finite value greater than or equal to 0.0"
        return f"{text}, got {share:g}"
    return None


def _entry(model: str, threshold: BusyThreshold) -> dict[str, Any]:
    return {"model": model, **asdict(threshold)}


async def _json(exchange: Exchange, status: int, body: dict[str, Any]) -> None:
    await exchange.respond(status, [JSON_TYPE], orjson.dumps(body))
