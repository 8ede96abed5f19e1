"""The ASGI application: routes, methods, and the answers for what is neither."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from dynamo_fe.http import system
from dynamo_fe.http.chat import chat_completions
from dynamo_fe.http.completions import completions
from dynamo_fe.http.errors import error_body
from dynamo_fe.http.exchange import JSON_TYPE, Exchange, Receive, Send
from dynamo_fe.http.services import Services

Handler: TypeAlias = Callable[[Exchange, Services], Awaitable[None]]

_log = logging.getLogger("dynamo_fe.http")
_MODEL_PREFIX: Final = "/v1/models/"


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and the methods it takes. `needs` is the model type that must have been discovered, None for none."""

    handler: Handler
    methods: tuple[str, ...]
    needs: str | None = None


class App:
    """One object a serving process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        get = ("GET", "HEAD")
        self._routes: dict[str, Route] = {
            "/v1/chat/completions": Route(chat_completions, ("POST",), "Chat"),
            "/v1/completions": Route(completions, ("POST",), "Completions"),
            "/v1/models": Route(system.list_models, get),
            "/health": Route(system.health, get),
            "/live": Route(system.live, get),
            "/ready": Route(system.ready, get),
            "/metrics": Route(system.metrics, get),
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request. An exception that no handler expected is logged and answered with a 500."""
        exchange = Exchange(scope, receive, send)
        services = self._services
        services.requests_in_hand += 1
        try:
            await self._route(exchange)
        except Exception:
            _log.exception("%s %s failed", exchange.method, exchange.path)
            if not exchange.started:
                await exchange.respond(500, [JSON_TYPE], error_body(500, "Internal server error"))
        finally:
            services.requests_in_hand -= 1
            services.note_idle()

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        route = self._routes.get(path)
        if route is None and path.startswith(_MODEL_PREFIX):
            name = path[len(_MODEL_PREFIX) :]
            route = Route(lambda given, services: system.get_model(given, services, name), ("GET", "HEAD"))
        if route is None:
            text = f"Route not found: {exchange.method} {path}"
            await exchange.respond(404, [JSON_TYPE], error_body(404, text))
        elif route.needs is not None and not self._may_serve(route.needs):
            allowed = [] if exchange.method in route.methods else [_allow(route)]
            await exchange.respond(404, allowed, b"")
        elif exchange.method not in route.methods:
            await exchange.respond(405, [_allow(route)], b"")
        else:
            await route.handler(exchange, self._services)

    def _may_serve(self, model_type: str) -> bool:
        """Whether a model of the type has been announced, or may yet be found in discovery."""
        registry = self._services.registry
        return registry.serves_type(model_type) or not registry.listed


def _allow(route: Route) -> tuple[bytes, bytes]:
    return b"allow", ",".join(route.methods).encode()
