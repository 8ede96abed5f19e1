"""Faults on purpose: what is done to requests that match."""

from __future__ import annotations

import asyncio
import http

from tests.support.fake_kube.exchange import Exchange, Request
from tests.support.fake_kube.objects import Object, failure


class Faults:
    """The faults in force, each {"match": {..}, "action": {..}, "times": n or None}."""

    def __init__(self) -> None:
        self._standing: list[Object] = []

    def add(self, match: Object, action: Object, times: int | None) -> None:
        self._standing.append({"match": match, "action": action, "times": times})

    def clear(self) -> None:
        self._standing.clear()

    async def strike(self, exchange: Exchange) -> bool | None:
        """None: no fault for this request. Else whether its connection can be used again."""
        for fault in list(self._standing):
            if not _matches(fault["match"], exchange.request):
                continue
            if fault["times"] is not None:
                fault["times"] -= 1
                if fault["times"] <= 0:
                    self._standing.remove(fault)
            usable = await _act(exchange, fault["action"])
            if usable is not None:
                return usable
        return None


def _matches(match: Object, request: Request) -> bool:
    return (
        match.get("verb") in (None, request.verb)
        and match.get("resource") in (None, request.resource)
        and match.get("path", "") in request.path
        and match.get("query") in (None, *request.query)
        and match.get("token") in (None, request.token)
    )


async def _act(exchange: Exchange, action: Object) -> bool | None:
    if "hang" in action:
        exchange.note("fault", action=action)
        await asyncio.sleep(action["hang"])
        if "then" not in action:
            return False
        action = action["then"]
    if action.get("reset"):
        exchange.note("fault", action=action)
        return exchange.reset()
    if "status" in action:
        return await _answer_status(exchange, action)
    if exchange.request.verb != "watch":
        return None
    await exchange.begin_stream()
    if "watch_error" in action:
        message = action.get("message", "too old resource version: 1 (2)")
        await exchange.send_event({"type": "ERROR", "object": failure(action["watch_error"], message)})
    if "raw" in action:
        await exchange.send_line(action["raw"])
    return await exchange.end_stream("fault")


async def _answer_status(exchange: Exchange, action: Object) -> bool:
    code, request = action["status"], exchange.request
    if "text" in action:
        return await exchange.answer_text(code, action["text"])
    extra_headers = [f"Retry-After: {action['retry_after']}"] if "retry_after" in action else []
    body = forbidden(request, request.verb) if code == 403 else failure(code, http.HTTPStatus(code).phrase)
    if "message" in action:
        body["message"] = action["message"]
    return await exchange.answer(code, body, extra_headers)


def forbidden(request: Request, verb: str) -> Object:
    """As an API server refuses what no role allows."""
    group, kind, place = request.group, request.resource, request.namespace
    dotted = f"{kind}.{group}" if group else kind
    message = (
        f'{dotted} is forbidden: User "system:serviceaccount:{place}:default" cannot {verb} resource "{kind}" '
        f'in API group "{group}" in the namespace "{place}"'
    )
    return failure(403, message, details={"group": group, "kind": kind})
