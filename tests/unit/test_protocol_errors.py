"""From an error on the wire to what a client sees and what the dispatcher does, in the real frontend's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.protocol.error_table import ErrorView, http_view, reason_phrase
from dynamo_fe.protocol.errors import STATUS_OF_CLASS, RequestError

CAPTURES = Path(__file__).parent.parent / "fixtures" / "http"


def http_error(code: int, error_class: str, reason: str, error_type: Any = "Unknown") -> RequestError:
    """A worker's HttpError(code, "text") as it travels."""
    message = json.dumps({"message": "text", "code": code})
    obj = {"error_type": error_type, "class": error_class, "reason": reason, "message": message}
    return RequestError.from_wire(obj, True)


def backend(name: str, error_class: str, reason: str, message: str = "boom", **more: Any) -> dict[str, Any]:
    return {"error_type": {"Backend": name}, "class": error_class, "reason": reason, "message": message, **more}


UNKNOWN = backend("Unknown", "Internal", "backend.unknown", "Exception: boom")
INVALID = backend(
    "InvalidArgument", "InvalidRequest", "backend.invalid_argument", public={"type": "message", "message": "bad arg"}
)


def captured_body(name: str) -> dict[str, Any]:
    text = (CAPTURES / name / "response.txt").read_text()
    first_line = text.replace("\r\n", "\n").partition("\n\n")[2].split("\n")[0]
    body: dict[str, Any] = json.loads(first_line.removeprefix("data: "))
    return body


def unary_body(view: ErrorView) -> dict[str, Any]:
    body: dict[str, Any] = {"message": view.message, "type": reason_phrase(view.status), "code": view.status}
    return body | ({"details": view.details} if view.details else {})


FIRST_UNARY = {
    "err_worker_429": http_error(429, "RateLimited", "request.rate_limited", "ResourceExhausted"),
    "err_worker_exception": RequestError.from_wire(UNKNOWN, True),
    "err_worker_invalid_argument": RequestError.from_wire(INVALID, True),
}


@pytest.mark.parametrize("name", FIRST_UNARY)
def test_a_first_event_of_a_unary_request_as_captured(name: str) -> None:
    assert unary_body(http_view(FIRST_UNARY[name], first_event=True)) == captured_body(name)


def test_a_later_event_of_a_unary_request_as_captured() -> None:
    view = http_view(RequestError.from_wire(UNKNOWN, False), first_event=False)
    assert unary_body(view) == captured_body("err_worker_exception_mid_unary")


@pytest.mark.parametrize("name", ["err_worker_529_stream", "err_worker_exception_first_stream"])
def test_a_stream_as_captured(name: str) -> None:
    overloaded = http_error(529, "CapacityExhausted", "capacity.exhausted", "ResourceExhausted")
    error = overloaded if "529" in name else RequestError.from_wire(UNKNOWN, True)
    view = http_view(error, first_event=False)
    body = {"message": view.message, "type": view.stream_type, "code": view.status}
    assert {"error": body} == captured_body(name)


BY_CLASS = {
    "InvalidRequest": (400, "Invalid request", "invalid_request_error"),
    "Unauthenticated": (401, "Authentication required", "authentication_error"),
    "PermissionDenied": (403, "Permission denied", "permission_error"),
    "NotFound": (404, "Resource not found", "not_found_error"),
    "Conflict": (409, "Request conflict", "invalid_request_error"),
    "PayloadTooLarge": (413, "Request payload too large", "invalid_request_error"),
    "UnsupportedMedia": (415, "Unsupported media type", "invalid_request_error"),
    "RateLimited": (429, "Rate limit exceeded", "rate_limit_error"),
    "Cancelled": (499, "Request cancelled", "request_cancelled"),
    "Internal": (500, "Internal server error", "internal_server_error"),
    "NotImplemented": (501, "Operation not implemented", "not_implemented_error"),
    "BackendProtocol": (502, "Bad gateway", "internal_server_error"),
    "Unavailable": (503, "Service temporarily unavailable", "service_unavailable"),
    "DeadlineExceeded": (504, "Request deadline exceeded", "timeout_error"),
    "CapacityExhausted": (529, "Service temporarily overloaded", "service_unavailable"),
}


@pytest.mark.parametrize("name", STATUS_OF_CLASS)
def test_the_table_by_class(name: str) -> None:
    view = http_view(RequestError.from_wire({"class": name, "message": "operators only"}, True), first_event=False)
    assert (view.status, view.message, view.stream_type) == BY_CLASS[name]
    assert view.details is None


INTERNAL = "Internal server error"
FIRST_HTTP_ERRORS = [
    (http_error(404, "NotFound", "request.not_found"), 404, "Not Found", None),
    (http_error(405, "InvalidRequest", "request.invalid"), 405, "Method Not Allowed", None),
    (http_error(415, "UnsupportedMedia", "request.unsupported_media"), 415, "Unsupported Media Type", None),
    (http_error(418, "InvalidRequest", "request.invalid"), 418, "I'm a teapot", None),
    (http_error(422, "InvalidRequest", "request.invalid"), 400, "Unprocessable Entity", None),
    (http_error(499, "Cancelled", "request.cancelled"), 499, "Request cancelled", None),
    (http_error(500, "Internal", "runtime.internal"), 500, INTERNAL, {"backend_status": 500}),
    (http_error(501, "NotImplemented", "runtime.not_implemented"), 500, INTERNAL, {"backend_status": 501}),
    (http_error(502, "BackendProtocol", "backend.protocol"), 500, INTERNAL, {"backend_status": 502}),
    (http_error(503, "Unavailable", "backend.unavailable"), 503, INTERNAL, None),
    (http_error(529, "CapacityExhausted", "capacity.exhausted"), 529, "Service temporarily overloaded", None),
    (http_error(200, "Internal", "runtime.internal"), 500, INTERNAL, None),
    (http_error(302, "Internal", "runtime.internal"), 500, INTERNAL, None),
]


@pytest.mark.parametrize("error, status, message, details", FIRST_HTTP_ERRORS)
def test_a_first_http_error(error: RequestError, status: int, message: str, details: dict[str, int] | None) -> None:
    view = http_view(error, first_event=True)
    assert (view.status, view.message, view.details) == (status, message, details)
    assert not error.may_retry


def test_invalid_argument_whose_text_is_json() -> None:
    obj = INVALID | {"message": '{"message":"m"}'}
    assert http_view(RequestError.from_wire(obj, True), first_event=True).message == "Bad Request"
    assert http_view(RequestError.from_wire(obj, True), first_event=False).message == "bad arg"


@pytest.mark.parametrize("name", ["Unavailable", "Cancelled", "DeadlineExceeded", "InvalidRequest"])
def test_other_first_events_follow_the_table(name: str) -> None:
    view = http_view(RequestError.from_wire({"class": name}, True), first_event=True)
    assert (view.status, view.message) == BY_CLASS[name][:2]


def test_our_own_errors_and_those_of_a_prologue_follow_the_table() -> None:
    internal = {"error": "Generate Error", "typed_error": {"class": "Internal", "reason": "runtime.unclassified"}}
    for error in (RequestError.protocol_error("x"), RequestError.from_prologue(internal)):
        view = http_view(error, first_event=True)
        assert (view.status, view.details) == (500, None)


OLDER = [
    ({"class": "InvalidArgument"}, 400), ({"class": "CannotConnect"}, 503), ({"class": "Disconnected"}, 503),
    ({"class": "WorkerUnavailable"}, 503), ({"class": "ConnectionTimeout"}, 504), ({"class": "ResponseTimeout"}, 504),
    ({"class": "ResourceExhausted"}, 529), ({"class": "WorkerOverloaded"}, 529), ({"class": "Unknown"}, 500),
    ({"class": "SomethingNew"}, 500), ({"class": 7}, 500), ({}, 500), (None, 500), ("text", 500),
    ({"error_type": "Disconnected"}, 503), ({"error_type": {"Backend": "Cancelled"}}, 499),
    ({"error_type": {"Backend": "EngineShutdown"}}, 503), ({"error_type": {"Backend": "Unknown"}}, 500),
    ({"error_type": {"Backend": "InvalidArgument"}}, 400), ({"error_type": {"Backend": "ResponseTimeout"}}, 504),
    ({"error_type": {"Backend": "StreamIncomplete"}}, 503), ({"error_type": {"Backend": "New"}}, 500),
    ({"class": "RateLimited", "error_type": "Disconnected"}, 429),
]  # fmt: skip


@pytest.mark.parametrize("obj, status", OLDER)
def test_classes_and_older_names(obj: Any, status: int) -> None:
    assert RequestError.from_wire(obj, True).status == status


def test_a_reason_of_another_class_degrades_the_error() -> None:
    error = RequestError.from_wire(INVALID | {"reason": "capacity.exhausted"}, True)
    assert (error.error_class, error.public) == ("Internal", None)


@pytest.mark.parametrize("key", ["public", "public_details"])
def test_public_texts(key: str) -> None:
    def public(**value: Any) -> str | None:
        return RequestError.from_wire({"class": "InvalidRequest", key: value}, True).public

    assert public(type="message", message="m") == "m"
    assert public(type="message", message=7) is None
    assert "4096" in (public(type="context_length", limit=4096, actual=5000) or "")
    assert public(type="rate_limit", limit=1, remaining=0) is None


# (error object, inhibits, may be retried elsewhere)
CONSEQUENCES = [
    ({"error_type": "CannotConnect"}, True, True),
    ({"error_type": "Disconnected"}, True, True),
    ({"error_type": "ConnectionTimeout"}, True, True),
    ({"error_type": "ResponseTimeout"}, True, True),
    ({"error_type": "WorkerUnavailable"}, True, True),
    ({"error_type": {"Backend": "EngineShutdown"}}, True, True),
    ({"error_type": {"Backend": "StreamIncomplete"}}, True, True),
    ({"error_type": {"Backend": "Disconnected"}}, False, True),
    ({"error_type": {"Backend": "CannotConnect"}}, False, True),
    ({"error_type": {"Backend": "ConnectionTimeout"}}, False, True),
    ({"error_type": {"Backend": "InvalidArgument"}}, False, False),
    ({"error_type": {"Backend": "Cancelled"}}, False, False),
    ({"error_type": {"Backend": "Unknown"}}, False, False),
    ({"error_type": "ResourceExhausted"}, False, False),
    ({"error_type": "WorkerOverloaded"}, False, True),
    ({"class": "Unavailable"}, False, False),
    ({"class": "DeadlineExceeded"}, False, False),
]


@pytest.mark.parametrize("obj, inhibits, may_retry", CONSEQUENCES)
def test_what_follows_from_a_worker_error(obj: Any, inhibits: bool, may_retry: bool) -> None:
    error = RequestError.from_wire(obj, True)
    assert (error.inhibits, error.may_retry) == (inhibits, may_retry)


@pytest.mark.parametrize("code, inhibits", [(408, True), (504, True), (502, False), (503, False), (529, False)])
def test_http_errors_that_set_the_instance_aside(code: int, inhibits: bool) -> None:
    error = http_error(code, "Unavailable", "backend.unavailable", "ConnectionTimeout")
    assert (error.inhibits, error.may_retry) == (inhibits, False)
