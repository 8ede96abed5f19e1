"""The catalogue of error classes, reasons and older names of Dynamo 1.6.1's runtime (error object of the wire)."""

from __future__ import annotations

from typing import Final

# class -> HTTP status
STATUS_OF_CLASS: Final[dict[str, int]] = {
    "InvalidRequest": 400,
    "Unauthenticated": 401,
    "PermissionDenied": 403,
    "NotFound": 404,
    "Conflict": 409,
    "PayloadTooLarge": 413,
    "UnsupportedMedia": 415,
    "RateLimited": 429,
    "Cancelled": 499,
    "Internal": 500,
    "NotImplemented": 501,
    "BackendProtocol": 502,
    "Unavailable": 503,
    "DeadlineExceeded": 504,
    "CapacityExhausted": 529,
}

# class -> the reasons that belong to it; the first is taken when the sender names none
_REASONS_IN_ORDER: Final[dict[str, tuple[str, ...]]] = {
    "InvalidRequest": ("request.invalid", "request.invalid_argument", "backend.invalid_argument"),
    "Unauthenticated": ("request.unauthenticated",),
    "PermissionDenied": ("request.permission_denied",),
    "NotFound": ("request.not_found",),
    "Conflict": ("request.conflict",),
    "PayloadTooLarge": ("request.payload_too_large",),
    "UnsupportedMedia": ("request.unsupported_media",),
    "RateLimited": ("request.rate_limited",),
    "Cancelled": ("request.cancelled", "backend.cancelled"),
    "Internal": ("runtime.unclassified", "runtime.invalid_error", "runtime.internal", "backend.unknown"),
    "NotImplemented": ("runtime.not_implemented",),
    "BackendProtocol": ("backend.protocol",),
    "Unavailable": (
        "backend.unavailable",
        "backend.worker_unavailable",
        "transport.cannot_connect",
        "transport.disconnected",
        "backend.cannot_connect",
        "backend.disconnected",
        "backend.engine_shutdown",
        "backend.stream_incomplete",
    ),
    "DeadlineExceeded": (
        "request.deadline_exceeded",
        "transport.connection_timeout",
        "backend.response_timeout",
        "backend.connection_timeout",
    ),
    "CapacityExhausted": ("capacity.exhausted", "capacity.pool_exhausted", "capacity.worker_overloaded"),
}
REASONS: Final[dict[str, frozenset[str]]] = {name: frozenset(reasons) for name, reasons in _REASONS_IN_ORDER.items()}
DEFAULT_REASON: Final[dict[str, str]] = {name: reasons[0] for name, reasons in _REASONS_IN_ORDER.items()}

_OLDER_NAMES: Final[dict[str, str]] = {
    "InvalidArgument": "InvalidRequest",
    "CannotConnect": "Unavailable",
    "Disconnected": "Unavailable",
    "WorkerUnavailable": "Unavailable",
    "ConnectionTimeout": "DeadlineExceeded",
    "ResponseTimeout": "DeadlineExceeded",
    "ResourceExhausted": "CapacityExhausted",
    "WorkerOverloaded": "CapacityExhausted",
    "Unknown": "Internal",
}
# what may stand in `class` (canonical and older names) and in a string `error_type`; every other name is Internal
CLASS_OF_NAME: Final[dict[str, str]] = {name: name for name in STATUS_OF_CLASS} | _OLDER_NAMES

# X of an `error_type` {"Backend": X}
CLASS_OF_BACKEND: Final[dict[str, str]] = {
    "Unknown": "Internal",
    "InvalidArgument": "InvalidRequest",
    "CannotConnect": "Unavailable",
    "Disconnected": "Unavailable",
    "EngineShutdown": "Unavailable",
    "StreamIncomplete": "Unavailable",
    "ConnectionTimeout": "DeadlineExceeded",
    "ResponseTimeout": "DeadlineExceeded",
    "Cancelled": "Cancelled",
}

# error_type in one word -> its own reason, when the sender left the reason out
REASON_OF_TYPE: Final[dict[str, str]] = {
    "InvalidArgument": "request.invalid_argument",
    "CannotConnect": "transport.cannot_connect",
    "Disconnected": "transport.disconnected",
    "WorkerUnavailable": "backend.worker_unavailable",
    "ConnectionTimeout": "transport.connection_timeout",
    "ResponseTimeout": "backend.response_timeout",
    "WorkerOverloaded": "capacity.worker_overloaded",
    "Backend.Unknown": "backend.unknown",
    "Backend.InvalidArgument": "backend.invalid_argument",
    "Backend.CannotConnect": "backend.cannot_connect",
    "Backend.Disconnected": "backend.disconnected",
    "Backend.EngineShutdown": "backend.engine_shutdown",
    "Backend.StreamIncomplete": "backend.stream_incomplete",
    "Backend.ConnectionTimeout": "backend.connection_timeout",
    "Backend.ResponseTimeout": "backend.response_timeout",
    "Backend.Cancelled": "backend.cancelled",
}
