"""The fake API server itself: connections, access, and the doors for tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from tests.support.fake_kube.controllers import Controllers
from tests.support.fake_kube.exchange import Exchange, Request, RequestLog, read_request
from tests.support.fake_kube.faults import Faults, forbidden
from tests.support.fake_kube.objects import RESOURCES, Object, failure
from tests.support.fake_kube.rights import Rights
from tests.support.fake_kube.store import Store, too_old
from tests.support.fake_kube.verbs import serve_verb
from tests.support.fake_kube.watching import serve_watch

CONTROL = "/_ctl/"
_LOGGED = ("verb", "group", "namespace", "resource", "name", "method", "path", "query", "body")
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class FakeKube:
    """Serves what `store` holds; on TLS the control port for tests is the next one, without."""

    def __init__(self, log: Path | None = None, tokens: list[str] | None = None, bookmark_secs: float = 60.0) -> None:
        self.store = Store()
        self.faults = Faults()
        self.rights = Rights()
        self._controllers = Controllers(self.store)
        self._log = RequestLog(log)
        self._tokens = tokens
        self._crd = True
        self._bookmark_secs = bookmark_secs
        self._requests = 0
        self._connections = 0
        self._doors = self._make_doors()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Raises OSError."""
        await asyncio.start_server(self._serve, host, port, ssl=tls, limit=1 << 20)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        tls = writer.get_extra_info("ssl_object")
        self._log.write("connect", conn=number, tls=tls.version() if tls else None)
        try:
            while await self._serve_one(reader, writer, number):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            self._log.write("close", conn=number)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
        request = await read_request(reader)
        if request.path.startswith(CONTROL):
            return await self._serve_control(Exchange(0, request, reader, writer, self._log))
        self._requests += 1
        exchange = Exchange(self._requests, request, reader, writer, self._log)
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        about = {name: getattr(request, name) for name in _LOGGED}
        exchange.note("request", conn=connection, headers=headers, **about)
        usable = await self.faults.strike(exchange)
        return await self._serve_resource(exchange) if usable is None else usable

    async def _serve_resource(self, exchange: Exchange) -> bool:
        request = exchange.request
        if self._tokens is not None and request.token not in self._tokens:
            return await exchange.answer(401, failure(401, "Unauthorized"))
        if request.path == "/version":
            return await exchange.answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if request.path == _REVIEWS and request.method == "POST":
            return await exchange.answer(201, self.rights.review(request.token, request.body))
        for verb in self._verbs(request):
            exchange.note("right", token=request.token, group=request.group, resource=request.resource, verb=verb)
            if not self.rights.allowed(request.token, request.group, request.resource, verb):
                return await exchange.answer(403, forbidden(request, verb))
        resource = request.resource
        unknown = resource not in RESOURCES or RESOURCES[resource][0] != request.group
        if resource is None or unknown or (resource == "dynamoworkermetadatas" and not self._crd):
            return await exchange.answer_text(404, "404 page not found\n")
        if request.verb == "watch":
            return await serve_watch(self.store, exchange, resource, self._bookmark_secs)
        return await serve_verb(self.store, exchange, resource)

    def _verbs(self, request: Request) -> list[str]:
        """What one must be allowed to: an apply that makes the object is a create as well."""
        kept = self.store.objects.get(request.resource or "", {})
        makes = request.is_apply and (request.namespace or "", request.name or "") not in kept
        return [request.verb, "create"] if makes else [request.verb]

    async def _serve_control(self, exchange: Exchange) -> bool:
        request = exchange.request
        body = request.body or {}
        try:
            door = self._doors[f"{request.method} {request.path.removeprefix(CONTROL)}"]
            return await exchange.answer(200, door(body.get("namespace", "default"), body) or {})
        except (KeyError, TypeError, ValueError) as error:
            return await exchange.answer(400, {"error": repr(error)})

    def _make_doors(self) -> dict[str, Callable[[str, Object], Object | None]]:
        store, controllers, faults = self.store, self._controllers, self.faults
        return {
            "POST pod": lambda place, asked: {"uid": controllers.add_pod(place, asked)},
            "DELETE pod": controllers.delete_pod,
            "POST ready": controllers.set_ready,
            "POST service": controllers.set_service,
            "PUT object": lambda place, asked: store.put(asked["resource"], asked["object"]),
            "DELETE object": lambda place, asked: {
                "deleted": bool(store.delete(asked["resource"], place, asked["name"]))
            },
            "POST fault": lambda place, asked: faults.add(asked.get("match", {}), asked["action"], asked.get("times")),
            "DELETE fault": lambda place, asked: faults.clear(),
            "POST rights": lambda place, asked: self.rights.grant(asked["token"], asked["rules"]),
            "POST tokens": self._set_tokens,
            "POST watches": self._act_on_watches,
            "POST compact": lambda place, asked: {"floor": store.compact(bool(asked.get("hard")))},
            "POST crd": self._set_crd,
            "POST bookmarks": self._set_bookmarks,
            "GET state": lambda place, asked: {
                **store.dump(),
                "floor": store.floor,
                "watches": [[watch.resource, watch.number] for watch in store.watches],
            },
        }

    def _set_tokens(self, place: str, asked: Object) -> None:
        self._tokens = asked["accept"]

    def _set_crd(self, place: str, asked: Object) -> None:
        self._crd = asked["installed"]

    def _set_bookmarks(self, place: str, asked: Object) -> None:
        self._bookmark_secs = asked["every"]

    def _act_on_watches(self, place: str, asked: Object) -> Object:
        how: str = asked["how"]
        for watch in self.store.watches:
            if asked.get("resource") in (None, watch.resource):
                events = {"error410": too_old(), "bookmark": self.store.bookmark(watch.resource)}
                watch.queue.put_nowait(events.get(how, how))
        return {"watches": len(self.store.watches)}
