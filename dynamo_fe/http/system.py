"""Models, health, readiness and metrics."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import orjson

from dynamo_fe.http.errors import error_body, respond_error, respond_refusal
from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.inference import model_of
from dynamo_fe.http.services import Services
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError

_TEXT_TYPE = (b"content-type", b"text/plain; charset=utf-8")
_NOT_READY = "Service is not ready"
# what the original says of every model where only gRPC serves it
_ONLY_GRPC: dict[str, Any] = {"ready": False, "reason": "model HTTP inference routes are not ready"}


async def list_models(exchange: Exchange, services: Services) -> None:
    """`GET /v1/models`: the models a request to which would be served now."""
    if services.draining:
        await respond_refusal(exchange, 503, error_body(503, _NOT_READY))
        return
    entries = [_entry(name, model, services) for name, model in services.servable().items()]
    await _json(exchange, 200, {"object": "list", "data": entries})


async def get_model(exchange: Exchange, services: Services, name: str) -> None:
    """`GET /v1/models/{id}`; ids may contain slashes."""
    if services.draining:
        await respond_refusal(exchange, 503, error_body(503, _NOT_READY))
        return
    try:
        model = model_of(services, name)
        if not services.availability.is_servable(name):
            raise Refusal.not_ready(name)
    except RequestError as error:
        await respond_error(exchange, error)
        return
    await _json(exchange, 200, _entry(name, model, services))


async def model_ready(exchange: Exchange, services: Services, name: str) -> None:
    """`GET /v1/models/{id}/ready`: which stages of the deployment are live, namespace by namespace; none while the
    process drains.
    """
    out: Collection[int] = services.router.left_out()
    if services.draining:
        out = {instance.instance_id for instance, _ in services.registry.instances()}
    readiness = services.registry.readiness(name, out)
    if readiness is None:
        if services.draining:
            await respond_refusal(exchange, 503, error_body(503, _NOT_READY))
        else:
            await respond_error(exchange, Refusal.unknown_model())
        return
    if services.settings.grpc_only and services.settings.kserve_strict:
        readiness |= _ONLY_GRPC
    await _json(exchange, 200 if readiness["ready"] else 503, readiness)


async def live(exchange: Exchange, services: Services) -> None:
    """`GET /live`: 200 while the process serves, 503 while it drains."""
    if services.draining:
        await _json(exchange, 503, {"status": "shutting_down", "message": "Service is shutting down"})
    else:
        await _json(exchange, 200, {"status": "live", "message": "Service is live"})


async def health(exchange: Exchange, services: Services) -> None:
    """`GET /health`, as the original has it: 200 also with no model, listing every instance in discovery; beside gRPC
    none.
    """
    if services.departing:
        await _json(exchange, 503, {"status": "not_ready", "stage": "draining", "message": _NOT_READY})
        return
    instances = [] if services.settings.grpc_only else services.registry.instances()
    endpoints = sorted({f"dyn://{entry.namespace}.{entry.component}.{entry.endpoint}" for entry, _ in instances})
    records = [orjson.loads(record) for _, record in instances]
    for record in records:
        record.pop("type", None)
    await _json(exchange, 200, {"status": "healthy", "endpoints": endpoints, "instances": records})


async def ready(exchange: Exchange, services: Services) -> None:
    """`GET /ready`: 200 once a request to some model would be served, else 503; in both cases the reasons, and the
    endpoints of workers that models are served by.
    """
    models = sorted(services.servable())
    cut_off = services.dispatcher.cut_off()
    reasons = cut_off + services.reasons()
    if services.departing:
        reasons = ["draining: the process is to end", *reasons]
    is_ready = bool(models) and not cut_off and not services.departing
    body = {
        "status": "ready" if is_ready else "not_ready",
        "models": models,
        "endpoints": sorted(services.registry.endpoints()),
        "reasons": reasons,
        "discovery": services.registry.discovery_status(),
    }
    await _json(exchange, 200 if is_ready else 503, body)


async def metrics(exchange: Exchange, services: Services) -> None:
    """`GET /metrics`: the Prometheus text format, of all serving processes together."""
    others = await services.siblings.collect() if services.siblings is not None else []
    await exchange.respond(200, [_TEXT_TYPE], services.metrics.registry.exposition(others))


def _entry(name: str, model: ServedModel, services: Services) -> dict[str, Any]:
    settings = services.settings
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "nvidia",
        "context_window": model.context_length if settings.context_window is None else settings.context_window,
    }
    if settings.max_output_tokens is not None:
        entry["max_output_tokens"] = settings.max_output_tokens
    return entry


async def _json(exchange: Exchange, status: int, body: dict[str, Any]) -> None:
    await exchange.respond(status, [JSON_TYPE], orjson.dumps(body))
