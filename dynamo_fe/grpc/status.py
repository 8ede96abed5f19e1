"""The status that ends an RPC: its code and text, and what becomes of a failed request."""

from __future__ import annotations

import enum
from typing import Final

from dynamo_fe.protocol.errors import RequestError

UNAVAILABLE_NOW: Final = "model temporarily unavailable"
SHUTTING_DOWN: Final = "Service is shutting down"
OVERLOADED: Final = "CapacityExhausted: all eligible workers are overloaded"
_NOT_SERVED: Final = "Service temporarily unavailable"
_TOO_MANY_REQUESTS: Final = 429


class Code(enum.IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(Exception):
    """Ends an RPC with a code other than OK. `plain` is the text without the original's wrapping; `http_status` is set
    where the code alone does not say which one it is over HTTP.
    """

    def __init__(self, code: Code, text: str, plain: str | None = None, http_status: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.plain = text if plain is None else plain
        self.http_status = http_status

    @classmethod
    def bad_request(cls, text: str) -> Status:
        """A request that cannot be read, in the wrapping that the original gives the reason."""
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        inner = f'status: InvalidArgument, message: "{quoted}", details: [], metadata: MetadataMap {{ headers: {{}} }}'
        return cls(Code.INVALID_ARGUMENT, f"Failed to parse request: {inner}", text)

    @classmethod
    def no_model(cls, name: str) -> Status:
        """No model of that name serves such requests."""
        return cls(Code.NOT_FOUND, f"Model '{name}' not found")

    @classmethod
    def bad_answer(cls, text: str) -> Status:
        """The worker's answer cannot be sent."""
        return cls(Code.INVALID_ARGUMENT, f"Failed to parse response: {text}")

    @classmethod
    def unfolded(cls, text: str) -> Status:
        """The items of a worker do not make one answer."""
        return cls(Code.INTERNAL, f"Failed to fold completions stream: {text}")


def spoken(error: RequestError) -> str:
    """A failure as `error_message` tells it: its kind, and the text of whoever failed."""
    return f"{error.error_class}: {error.message}"


def failed_folding(error: RequestError, strict: bool) -> Status:
    """The status of a call whose worker failed. Unless `strict`, it is that of the failure's kind."""
    if error.error_type == "WorkerUnavailable" or error.backend_status == 503:
        return Status(Code.UNAVAILABLE, _NOT_SERVED)
    if error.deadline_stage is not None and not strict:
        return Status(Code.DEADLINE_EXCEEDED, spoken(error))
    of_its_kind = None if strict else _of_its_kind(error)
    return of_its_kind or Status.unfolded(spoken(error))


def failed_dispatch(error: RequestError, what: str, strict: bool) -> Status:
    """The status of a call that no worker took; `what` was to be generated."""
    if error.error_class == "CapacityExhausted":
        return Status(Code.RESOURCE_EXHAUSTED, spoken(error))
    of_its_kind = None if strict else _of_its_kind(error)
    return of_its_kind or Status(Code.INTERNAL, f"Failed to generate {what}: {spoken(error)}")


def _of_its_kind(error: RequestError) -> Status | None:
    """What a client can act on: its own fault, or a reason to come back later. None for all else."""
    match error.error_class:
        case "InvalidRequest":
            return Status(Code.INVALID_ARGUMENT, spoken(error))
        case "NotFound":
            return Status(Code.NOT_FOUND, spoken(error))
        case "RateLimited":
            return Status(Code.RESOURCE_EXHAUSTED, spoken(error), http_status=_TOO_MANY_REQUESTS)
        case "Unavailable":
            return Status(Code.UNAVAILABLE, _NOT_SERVED)
    return None
