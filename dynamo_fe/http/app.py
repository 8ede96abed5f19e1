"""The ASGI application: from a request to its route, and the answers for what has none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from dynamo_fe.http import access_log
from dynamo_fe.http.body import Receive
from dynamo_fe.http.cors import Cors
from dynamo_fe.http.errors import error_body
from dynamo_fe.http.exchange import JSON_TYPE, Exchange, Send
from dynamo_fe.http.routes import Route, Routes
from dynamo_fe.http.services import Services
from dynamo_fe.ops.logs import trace_of

_log = logging.getLogger("dynamo_fe.http")


class App:
    """One object a serving process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routes = Routes(services.settings)
        self._cors = Cors(services.settings.cors_allow_origin)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request. An exception that no handler expected is logged and answered with a 500."""
        services, begun = self._services, access_log.begin()
        exchange = Exchange(scope, receive, send, services.intake, services.disconnects)
        multiplexed = scope["http_version"] == "2"
        if multiplexed:
            exchange.patience_secs = services.settings.stalled_reader_timeout_secs
        exchange.closing = services.leaving and not multiplexed
        if self._cors.on:
            exchange.always = self._cors.headers(exchange)
        peer = scope["client"]
        services.connections.begin(peer, multiplexed)
        services.requests_in_hand += 1
        try:
            await self._route(exchange)
        except Exception as error:
            told = f"request {exchange.request_id}: " if exchange.request_id else ""
            _log.error("%s%s %s failed: %s", told, exchange.method, exchange.path, trace_of(error))
            if not exchange.started:
                await exchange.respond(500, [JSON_TYPE], error_body(500, "Internal server error"))
        finally:
            exchange.release()
            access_log.end(exchange, begun)
            services.connections.end(peer, asyncio.get_running_loop().time())
            services.requests_in_hand -= 1
            services.note_idle()

    async def _route(self, exchange: Exchange) -> None:
        route = self._routes.find(exchange.path)
        if route is None:
            text = f"Route not found: {exchange.method} {exchange.path}"
            await exchange.respond(404, [JSON_TYPE], error_body(404, text))
            return
        if self._cors.on and self._cors.asked_before(exchange):
            await exchange.respond(204, self._cors.answer(exchange, route.allow), b"")
            return
        handler = route.handlers.get(exchange.method, route.otherwise)
        if route.needs is not None and not self._may_serve(route.needs):
            await exchange.respond(404, [] if handler is not None else [_allow(route)], b"")
        elif handler is None:
            await exchange.respond(405, [_allow(route)], b"")
        else:
            await handler(exchange, self._services)

    def _may_serve(self, model_type: str) -> bool:
        """Whether a model of the type has been announced, or may yet be found in discovery."""
        registry = self._services.registry
        return registry.serves_type(model_type) or not registry.listed


def _allow(route: Route) -> tuple[bytes, bytes]:
    return b"allow", route.allow.encode()
