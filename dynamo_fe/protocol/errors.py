"""The one typed failure of a request, and how the three places of the wire spell it.

A worker can refuse in its acknowledgement (text), in the prologue of its response stream (text and, mostly, a typed
error object) or in an item of the stream (error object). Our own side adds connection faults and deadlines. All of them
become a :class:`RequestError`; :mod:`dynamo_fe.protocol.error_table` says what a client sees of it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from dynamo_fe.protocol.error_catalogue import (
    CLASS_OF_BACKEND,
    CLASS_OF_NAME,
    DEFAULT_REASON,
    REASON_OF_TYPE,
    REASONS,
    STATUS_OF_CLASS,
)

__all__ = ["DEADLINE_STAGES", "STATUS_OF_CLASS", "Origin", "RequestError"]

Origin = Literal["frontend", "transport", "worker"]

# the stages of a request that a timer of ours can end, and what each waits for
DEADLINE_STAGES: Final = {
    "connect": "a connection",
    "ack": "the acknowledgement",
    "callback": "the worker's call-back",
    "prologue": "the prologue",
    "first_item": "the first item",
    "item": "the next item",
    "total": "the end of the request",
}

OVERLOADED_PREFIX: Final = "Server overloaded:"
UNAVAILABLE_PREFIX: Final = "Server unavailable:"

# error_type of a worker's error -> the instance is left out of rotation for a while
_INHIBITING: Final = frozenset(
    {
        "CannotConnect",
        "Disconnected",
        "ConnectionTimeout",
        "ResponseTimeout",
        "WorkerUnavailable",
        "Backend.EngineShutdown",
        "Backend.StreamIncomplete",
    }
)
# error_type of a worker's error -> another worker may do better with the same request
_RETRYABLE: Final = frozenset(
    {
        "CannotConnect",
        "Disconnected",
        "ConnectionTimeout",
        "ResponseTimeout",
        "WorkerUnavailable",
        "WorkerOverloaded",
        "Backend.CannotConnect",
        "Backend.Disconnected",
        "Backend.ConnectionTimeout",
        "Backend.ResponseTimeout",
        "Backend.EngineShutdown",
        "Backend.StreamIncomplete",
    }
)
# statuses a worker chose itself (HttpError) that still set the instance aside
_INHIBITING_STATUS: Final = frozenset({408, 504})


class RequestError(Exception):
    """A request failed, and this is all that is known about it.

    ``error_class`` is one of :data:`STATUS_OF_CLASS`; ``reason`` a key of the wire's catalogue. ``error_type`` is the
    older classification, ``"Name"`` or ``"Backend.Name"``. ``public`` is text a client may see; ``message`` is for
    operators only. ``backend_status`` and ``backend_text`` are set when the message was a JSON object
    ``{"message", "code"}``, which is how a worker's HttpError travels (either may be missing in it).
    ``first_event``: it came as an error item before any other item. ``inhibits``: leave the instance alone for a
    while; ``may_retry``: another worker may be tried as long as the client has not seen anything that forbids it.
    ``deadline_stage`` names which of our own timers ended it (one of :data:`DEADLINE_STAGES`), None for all others.
    """

    def __init__(
        self,
        error_class: str,
        reason: str,
        message: str,
        *,
        public: str | None = None,
        error_type: str = "Unknown",
        backend_status: int | None = None,
        backend_text: str | None = None,
        origin: Origin = "frontend",
        inhibits: bool = False,
        may_retry: bool = False,
        first_event: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.reason = reason
        self.message = message
        self.public = public
        self.error_type = error_type
        self.backend_status = backend_status
        self.backend_text = backend_text
        self.origin: Origin = origin
        self.inhibits = inhibits
        self.may_retry = may_retry
        self.first_event = first_event
        self.deadline_stage: str | None = None

    def __repr__(self) -> str:
        return f"RequestError({self.error_class}, {self.reason}, {self.message!r}, origin={self.origin})"

    def kept(self) -> RequestError:
        """Itself, for who keeps it: without the frames it was raised in. They hold what holds it, and the prompt with
        that, until the garbage collector comes.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self

    @property
    def status(self) -> int:
        """The HTTP status of the error class."""
        return STATUS_OF_CLASS[self.error_class]

    @classmethod
    def from_wire(cls, obj: Any, first: bool) -> RequestError:
        """The error of an error item; ``first``: no item came before it. Anything but an object counts as internal."""
        if not isinstance(obj, dict):
            text = "the worker reported an error without saying which"
            return cls("Internal", "runtime.unclassified", text, origin="worker", first_event=first)
        error_class, reason, error_type, degraded = _classify(obj)
        message = _text(obj.get("message")) or _text(obj.get("diagnostic")) or "no message"
        status, text_of_status, is_http = _http_error(message)
        inhibits = status in _INHIBITING_STATUS if is_http else error_type in _INHIBITING
        public = None if degraded else _public(obj)
        return cls(
            error_class,
            reason,
            message,
            public=public,
            error_type=error_type,
            backend_status=status,
            backend_text=text_of_status,
            origin="worker",
            inhibits=inhibits,
            may_retry=not is_http and error_type in _RETRYABLE,
            first_event=first,
        )

    @classmethod
    def from_prologue(cls, obj: dict[str, Any]) -> RequestError:
        """The error of a prologue ``{"error": text, "typed_error": {…}?}``; the worker never started the stream."""
        typed = obj.get("typed_error")
        if isinstance(typed, dict):
            return cls.from_wire(typed, first=False)
        message = _text(obj.get("error")) or "the worker refused the request"
        return cls(
            "Unavailable",
            "backend.unavailable",
            message,
            error_type="Unavailable",
            origin="worker",
            inhibits=True,
            may_retry=True,
        )

    @classmethod
    def from_ack(cls, text: str) -> RequestError:
        """A non-empty acknowledgement: the worker did not take the request."""
        if text.startswith(OVERLOADED_PREFIX):
            return cls(
                "CapacityExhausted",
                "capacity.worker_overloaded",
                text,
                error_type="WorkerOverloaded",
                origin="worker",
                may_retry=True,
                first_event=True,
            )
        if "message too large" in text:
            return cls.too_large(text)
        return cls(
            "Unavailable",
            "backend.worker_unavailable",
            text,
            error_type="WorkerUnavailable",
            origin="worker",
            inhibits=True,
            may_retry=True,
        )

    @classmethod
    def too_large(cls, message: str) -> RequestError:
        """The request does not fit into one frame; the same everywhere, so nobody else is asked."""
        public = "The request is too large to be sent to a worker"
        return cls("InvalidRequest", "request.invalid", message, public=public, error_type="InvalidArgument")

    @classmethod
    def cannot_connect(cls, message: str, *, timed_out: bool = False) -> RequestError:
        """No request connection could be had; nothing was sent. ``timed_out``: the attempt was given up by us."""
        error = cls._transport("Unavailable", "transport.cannot_connect", "CannotConnect", message)
        error.deadline_stage = "connect" if timed_out else None
        return error

    @classmethod
    def disconnected(cls, message: str) -> RequestError:
        """The stream broke off, or the request connection died before the acknowledgement."""
        return cls._transport("Unavailable", "transport.disconnected", "Disconnected", message)

    @classmethod
    def deadline(cls, stage: str, secs: float) -> RequestError:
        """What ``stage`` (one of :data:`DEADLINE_STAGES`) waits for did not come within ``secs`` seconds."""
        message = f"waited {secs:g} s for {DEADLINE_STAGES[stage]}"
        error = cls._transport("DeadlineExceeded", "backend.response_timeout", "ResponseTimeout", message)
        error.deadline_stage = stage
        return error

    @classmethod
    def past_total_deadline(cls, secs: float) -> RequestError:
        """The request as a whole took longer than ``secs`` seconds, whoever is to blame: nobody else is tried."""
        message = f"not done within {secs:g} s"
        error = cls("DeadlineExceeded", "request.deadline_exceeded", message, error_type="ResponseTimeout")
        error.deadline_stage = "total"
        return error

    @classmethod
    def no_reply(cls, secs: float) -> RequestError:
        """No acknowledgement by way of a broker: the original says unavailable, where a silent connection is late."""
        message = f"waited {secs:g} s for {DEADLINE_STAGES['ack']}"
        error = cls._transport("Unavailable", "transport.disconnected", "ResponseTimeout", message)
        error.deadline_stage = "ack"
        return error

    @classmethod
    def broker_lost(cls, message: str, *, timed_out: bool = False) -> RequestError:
        """The broker between us and the workers is away, which speaks against none of them. ``timed_out``: it was
        waited for in vain, so that another try would only wait again.
        """
        error = cls._transport("Unavailable", "transport.cannot_connect", "Unavailable", message)
        error.inhibits = False
        error.may_retry = not timed_out
        error.deadline_stage = "connect" if timed_out else None
        return error

    @classmethod
    def instance_removed(cls, message: str) -> RequestError:
        """The instance left discovery before it began to answer; it needs no setting aside."""
        error = cls._transport("Unavailable", "transport.disconnected", "Disconnected", message)
        error.inhibits = False
        return error

    @classmethod
    def protocol_error(cls, message: str) -> RequestError:
        """The worker sent bytes that are no frame, or an item that is none."""
        return cls("Internal", "runtime.unclassified", message, origin="worker")

    @classmethod
    def exhausted(cls, message: str) -> RequestError:
        """One of our own bounds (unacknowledged requests, write buffer) is reached for this instance."""
        return cls(
            "CapacityExhausted",
            "capacity.pool_exhausted",
            message,
            error_type="ResourceExhausted",
            origin="transport",
            may_retry=True,
        )

    @classmethod
    def _transport(cls, error_class: str, reason: str, error_type: str, message: str) -> RequestError:
        return cls(
            error_class, reason, message, error_type=error_type, origin="transport", inhibits=True, may_retry=True
        )


def _classify(obj: dict[str, Any]) -> tuple[str, str, str, bool]:
    """(class, reason, error_type, degraded) of an error object; ``class`` wins over ``error_type``.

    A reason that does not belong to the class degrades the whole error to an internal one.
    """
    error_type, type_class = _older(obj.get("error_type"))
    name = obj.get("class")
    if name is None:
        error_class = type_class or "Internal"
    else:
        error_class = CLASS_OF_NAME.get(name, "Internal") if isinstance(name, str) else "Internal"
        if error_type is None:
            error_type = name if isinstance(name, str) and name in CLASS_OF_NAME else "Unknown"
    reason = obj.get("reason")
    if reason is None:
        derived = REASON_OF_TYPE.get(error_type or "")
        reason = derived if derived in REASONS[error_class] else DEFAULT_REASON[error_class]
    elif not isinstance(reason, str) or reason not in REASONS[error_class]:
        return "Internal", "runtime.invalid_error", error_type or "Unknown", True
    return error_class, reason, error_type or "Unknown", False


def _older(value: Any) -> tuple[str | None, str | None]:
    """The older classification as one word, and the class it stands for."""
    if isinstance(value, str):
        return value, CLASS_OF_NAME.get(value, "Internal")
    if isinstance(value, dict) and len(value) == 1:
        inner = value.get("Backend")
        if isinstance(inner, str):
            return f"Backend.{inner}", CLASS_OF_BACKEND.get(inner, "Internal")
    return None, None


def _public(obj: dict[str, Any]) -> str | None:
    """Text for the client out of ``public`` (alias ``public_details``)."""
    details = obj.get("public", obj.get("public_details"))
    if not isinstance(details, dict):
        return None
    kind = details.get("type")
    if kind == "message":
        message = details.get("message")
        return message if isinstance(message, str) else None
    limit, actual = details.get("limit"), details.get("actual")
    if isinstance(limit, int) and isinstance(actual, int):
        if kind == "context_length":
            return f"This model's maximum context length is {limit} tokens, but the request needs {actual}."
        if kind == "size_limit":
            return f"The request exceeds a size limit of {limit}: it has {actual}."
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class _HttpErrorText(msgspec.Struct):
    message: str | None = None
    code: int | None = None


_HTTP_ERROR: Final = msgspec.json.Decoder(_HttpErrorText)


def _http_error(message: str) -> tuple[int | None, str | None, bool]:
    """(code, text, is an HttpError) of a message of the shape ``{"message":…,"code":…}``."""
    if not message.startswith("{"):
        return None, None, False
    try:
        parsed = _HTTP_ERROR.decode(message)
    except msgspec.MsgspecError:
        return None, None, False
    return parsed.code, parsed.message if parsed.message is not None else message, parsed.code is not None
