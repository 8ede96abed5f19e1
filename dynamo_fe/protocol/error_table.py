"""What a client sees of a failed request: status, message, type of the streamed error. Pure functions, no I/O.

Two ways, as Dynamo 1.6.1 has them: the table by error class (streams, and unary requests that fail after their first
item), and another for a unary request whose *first* event is a worker's error, where the status a worker chose itself
(HttpError) shows through.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from dynamo_fe.protocol.error_catalogue import STATUS_OF_CLASS
from dynamo_fe.protocol.errors import RequestError

_MESSAGE_OF_CLASS: Final[dict[str, str]] = {
    "InvalidRequest": "Invalid request",
    "Unauthenticated": "Authentication required",
    "PermissionDenied": "Permission denied",
    "NotFound": "Resource not found",
    "Conflict": "Request conflict",
    "PayloadTooLarge": "Request payload too large",
    "UnsupportedMedia": "Unsupported media type",
    "RateLimited": "Rate limit exceeded",
    "Cancelled": "Request cancelled",
    "Internal": "Internal server error",
    "NotImplemented": "Operation not implemented",
    "BackendProtocol": "Bad gateway",
    "Unavailable": "Service temporarily unavailable",
    "DeadlineExceeded": "Request deadline exceeded",
    "CapacityExhausted": "Service temporarily overloaded",
}
_STREAM_TYPE: Final[dict[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "request_cancelled",
    501: "not_implemented_error",
    503: "service_unavailable",
    504: "timeout_error",
    529: "service_unavailable",
}
# the original's names where Python's differ, and the two codes that no registry has
_PHRASES: Final[dict[int, str]] = {
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    418: "I'm a teapot",
    499: "Client Closed Request",
    529: "Overloaded",
}


@dataclass(frozen=True, slots=True)
class ErrorView:
    """``stream_type`` is the ``type`` of an error event in a stream; ``details`` stands beside the message if given."""

    status: int
    message: str
    stream_type: str
    details: dict[str, Any] | None = None


def reason_phrase(status: int) -> str:
    """The standard phrase, which is also the ``type`` of an error body; "Unknown" if there is none."""
    phrase = _PHRASES.get(status)
    if phrase is not None:
        return phrase
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def stream_type(status: int) -> str:
    """The ``type`` of an error event in a stream."""
    known = _STREAM_TYPE.get(status)
    if known is not None:
        return known
    return "invalid_request_error" if 400 <= status < 500 else "internal_server_error"


def http_view(error: RequestError, first_event: bool) -> ErrorView:
    """How ``error`` shows; ``first_event``: it is the first event of a request that can still choose its HTTP status.

    Only error items count as events: our own errors and those of a prologue always follow the table by class, as do
    embeddings and running streams (which pass False).
    """
    if first_event and error.origin == "worker" and error.first_event:
        chosen = _chosen_by_worker(error)
        if chosen is not None:
            return chosen
    return _view(error.status, _class_message(error))


def counted_as(error: RequestError, first_event: bool) -> tuple[str, str]:
    """The class and the reason that a failure is counted by; `first_event` as for `http_view`."""
    if first_event and error.origin == "worker" and error.first_event:
        chosen = _chosen_by_worker(error)
        if chosen is not None and chosen.message == _MESSAGE_OF_CLASS["Internal"]:
            return "Internal", "runtime.internal"
    return error.error_class, error.reason


def _class_message(error: RequestError) -> str:
    if error.error_class == "InvalidRequest" and error.public is not None:
        return error.public
    return _MESSAGE_OF_CLASS[error.error_class]


def _chosen_by_worker(error: RequestError) -> ErrorView | None:
    """The view of a first event that does not follow the class table, or None."""
    status = error.backend_status
    if status is None and error.backend_text is not None and error.error_class == "InvalidRequest":
        status = STATUS_OF_CLASS["InvalidRequest"]
    if status is None:
        if error.error_class == "Internal":
            return _view(500, _MESSAGE_OF_CLASS["Internal"], {"backend_status": 500})
        return None
    if status in (499, 529):
        return _view(status, _MESSAGE_OF_CLASS["Cancelled" if status == 499 else "CapacityExhausted"])
    if status == 422:
        return _view(400, reason_phrase(422))
    if 400 <= status < 500:
        return _view(status, reason_phrase(status))
    message = _MESSAGE_OF_CLASS["Internal"]
    if status == 503:
        return _view(503, message)
    return _view(500, message, {"backend_status": status} if 500 <= status < 600 else None)


def _view(status: int, message: str, details: dict[str, Any] | None = None) -> ErrorView:
    return ErrorView(status, message, stream_type(status), details)
