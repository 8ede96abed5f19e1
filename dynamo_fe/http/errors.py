"""Error answers: Dynamo's flat body, and beside it the `error` object that OpenAI's own clients read."""

from __future__ import annotations

from typing import Any, Final

import orjson

from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.error_table import ErrorView, http_view, reason_phrase
from dynamo_fe.protocol.errors import RequestError

# seconds a refused client is asked to wait
_RETRY_AFTER: Final = {429: b"1", 503: b"1", 529: b"1"}
_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def view_of(error: RequestError, first_event: bool) -> ErrorView:
    """Status and text of an error; a refusal of our own shows its own text."""
    view = http_view(error, first_event)
    if isinstance(error, Refusal) and error.public is not None:
        return ErrorView(error.own_status or view.status, error.public, view.stream_type, error.details or view.details)
    return view


def error_body(
    status: int,
    message: str,
    *,
    details: dict[str, Any] | None = None,
    param: str | None = None,
    code: str | None = None,
    detail: str | None = None,
) -> bytes:
    """The JSON body of an error answer."""
    body: dict[str, Any] = {"message": message, "type": reason_phrase(status), "code": status}
    if details is not None:
        body["details"] = details
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    told = message if detail is None else f"{message}: {detail}"
    body["error"] = {"message": told, "type": kind, "param": param, "code": code}
    return orjson.dumps(body)


def error_event(error: RequestError) -> bytes:
    """The event that ends a stream whose status has gone out already; `[DONE]` follows it."""
    view = view_of(error, first_event=False)
    return b"data: %b\n\n" % orjson.dumps(
        {"error": {"message": view.message, "type": view.stream_type, "code": view.status}}
    )


async def respond_error(exchange: Exchange, error: RequestError, first_event: bool = False) -> int:
    """Answers with an error; returns the status. `first_event`: no item of the worker came before it."""
    view = view_of(error, first_event)
    body = error_body(
        view.status,
        view.message,
        details=view.details,
        param=getattr(error, "param", None),
        code=getattr(error, "code", None),
        detail=getattr(error, "detail", None),
    )
    await respond_refusal(exchange, view.status, body)
    return view.status


async def respond_refusal(exchange: Exchange, status: int, body: bytes) -> None:
    """Answers with a ready error body; tells the client when to come back where that makes sense."""
    headers = [JSON_TYPE]
    retry_after = _RETRY_AFTER.get(status)
    if retry_after is not None:
        headers.append((b"retry-after", retry_after))
    await exchange.respond(status, headers, body)
