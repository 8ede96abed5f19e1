"""Faults on purpose: every so many requests, one that goes wrong in a chosen way."""

from __future__ import annotations

import enum
from typing import Any


class FaultKind(enum.Enum):
    """`REFUSE` and `NO_CALLBACK` happen before the stream, the others in it."""

    ERROR_FIRST = "error-first"  # an error item instead of the first item
    ERROR_MID = "error-mid"  # half of the answer, then an error item
    DISCONNECT = "disconnect"  # half of the answer, then the connection closes
    REFUSE = "refuse"  # the acknowledgement says that the worker is at capacity
    STALL = "stall"  # half of the answer, then silence
    NO_CALLBACK = "no-callback"  # acknowledged, and nothing follows
    GARBAGE = "garbage"  # half of the answer, then a frame that cannot be decoded


class FaultPlan:
    """Counts requests; each `every`-th gets the fault. 0 means none."""

    def __init__(self, every: int, kind: FaultKind) -> None:
        self._every = every
        self._kind = kind
        self._requests = 0

    def next(self) -> FaultKind | None:
        """The fault of the next request, if it has one."""
        if self._every == 0:
            return None
        self._requests += 1
        return self._kind if self._requests % self._every == 0 else None


def error_object(
    error_type: str | dict[str, str], error_class: str, reason: str, message: str, *, public: bool = False
) -> dict[str, Any]:
    """The wire's error object; `public`: clients may see the message."""
    error: dict[str, Any] = {
        "error_type": error_type,
        "class": error_class,
        "reason": reason,
        "message": message,
        "diagnostic": message,
    }
    if public:
        error["public"] = {"type": "message", "message": message}
    return error


def injected_error() -> dict[str, Any]:
    """What an engine says when its code raised an exception of an unknown kind: HTTP 500, no other worker is tried."""
    return error_object({"Backend": "Unknown"}, "Internal", "backend.unknown", "RuntimeError: injected fault")


def cancelled_error() -> dict[str, Any]:
    """What is said to requests that did not finish within the drain limit."""
    return error_object({"Backend": "Cancelled"}, "Cancelled", "backend.cancelled", "the worker is shutting down")


def unclassified_error(message: str) -> dict[str, Any]:
    """The typed error of a prologue that refuses a request for a reason no client can mend."""
    return error_object("Unknown", "Internal", "runtime.unclassified", message)


def too_long_error(actual: int, limit: int) -> dict[str, Any]:
    """The prompt leaves no room for an answer."""
    message = f"the prompt has {actual} tokens, the context {limit}"
    return error_object(
        {"Backend": "InvalidArgument"}, "InvalidRequest", "backend.invalid_argument", message, public=True
    )
