"""`/openapi.json`: the description of the API, made from the routes and the types that requests are read into."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import orjson

from dynamo_fe import __version__
from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.services import Services
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

# path -> methods, summary, name of the request's schema
Described: TypeAlias = Mapping[str, tuple[str, str, str | None]]

_RESPONSES: Final = {
    "200": {"description": "Successful response"},
    "400": {"description": "Bad request - invalid input"},
    "404": {"description": "Model not found"},
    "503": {"description": "Service unavailable"},
    "529": {"description": "Service overloaded"},
}
_INFO: Final = {
    "title": "NVIDIA Dynamo OpenAI Frontend",
    "description": "OpenAI-compatible HTTP API for NVIDIA Dynamo, served by dynamo-fe.",
    "license": {"name": "Apache-2.0"},
    "version": __version__,
}


def handler(routes: Described) -> Callable[[Exchange, Services], Awaitable[None]]:
    """`GET /openapi.json`. The text is made with the first request for it."""
    made: list[bytes] = []

    async def describe(exchange: Exchange, services: Services) -> None:
        if not made:
            made.append(orjson.dumps(description(routes)))
        await exchange.respond(200, [JSON_TYPE], made[0])

    return describe


def description(routes: Described) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components(
        [ChatRequest, CompletionRequest], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/", "description": "Current server"}],
        "paths": {path: _operations(path, *route) for path, route in routes.items()},
        "components": {"schemas": schemas},
    }


def _operations(path: str, methods: str, summary: str, schema: str | None) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for method in methods.lower().split(","):
        if method == "head":
            continue
        operation: dict[str, Any] = {
            "summary": summary,
            "operationId": f"{method}{path.translate(_AS_NAME)}",
            "responses": _RESPONSES,
        }
        if "{model_id}" in path:
            operation["parameters"] = [
                {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}
            ]
        if method == "post":
            content = {"schema": {"$ref": f"#/components/schemas/{schema}"}} if schema else {}
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        operations[method] = operation
    return operations


_AS_NAME: Final = str.maketrans({"/": "_", "{": None, "}": None, ".": "_"})
