"""What we refuse ourselves: a client's mistake, or a model that cannot be asked now."""

from __future__ import annotations

from typing import Any

from dynamo_fe.protocol.errors import RequestError


class Refusal(RequestError):
    """A refusal whose text is meant for the client.

    `param` names the field at fault, `code` is OpenAI's word for the case and `detail` goes on where the original's
    text names nothing; all only show in the `error` object that OpenAI's own clients read. `details` stand beside the
    message, as in the original.
    """

    def __init__(
        self, error_class: str, reason: str, public: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(error_class, reason, public, public=public)
        self.param = param
        self.code = code
        self.detail: str | None = None
        self.details: dict[str, Any] | None = None
        # where it is not the status of the class
        self.own_status: int | None = None

    @classmethod
    def invalid(
        cls, public: str, *, param: str | None = None, code: str | None = None, detail: str | None = None
    ) -> Refusal:
        """400: the request itself is at fault."""
        refusal = cls("InvalidRequest", "request.invalid", public, param=param, code=code)
        refusal.detail = detail
        return refusal

    @classmethod
    def invalid_argument(
        cls,
        public: str = "Invalid request",
        *,
        param: str | None = None,
        code: str | None = None,
        detail: str | None = None,
    ) -> Refusal:
        """400: its fields are in order, but what they ask for is nothing that the model or its workers can do."""
        refusal = cls("InvalidRequest", "request.invalid_argument", public, param=param, code=code)
        refusal.detail = detail
        return refusal

    @classmethod
    def header_too_large(cls, public: str) -> Refusal:
        """431: the headers say more than is taken."""
        refusal = cls("PayloadTooLarge", "request.payload_too_large", public)
        refusal.own_status = 431
        return refusal

    @classmethod
    def not_implemented(cls, public: str, *, param: str | None = None) -> Refusal:
        """501: a known request that this version does not serve."""
        return cls("NotImplemented", "runtime.not_implemented", public, param=param)

    @classmethod
    def unknown_model(cls) -> Refusal:
        """404: no card names the model."""
        return cls("NotFound", "request.not_found", "Model not found", param="model", code="model_not_found")

    @classmethod
    def not_ready(cls, model: str) -> Refusal:
        """503: a card names the model, but no worker could serve it now."""
        text = (
            f"Model `{model}` is not ready to serve requests yet. The deployment may still be starting up or is not "
            "fully provisioned. Please retry shortly."
        )
        return cls("Unavailable", "backend.unavailable", text, param="model")

    @classmethod
    def at_capacity(cls) -> Refusal:
        """503: a bound on the work in hand is reached, and waiting in line would only make everyone slow."""
        return cls("Unavailable", "backend.unavailable", "The service is at capacity. Please retry shortly.")

    @classmethod
    def overloaded(cls, public: str = "Service temporarily overloaded") -> Refusal:
        """529: every worker that might take the request has more to do than its thresholds allow."""
        return cls("CapacityExhausted", "capacity.pool_exhausted", public)

    @classmethod
    def queue_full(cls, public: str, policy_class: str, limit_kind: str, current: int, limit: int) -> Refusal:
        """529: the waiting requests of a policy class have reached a limit of it: `current` of `limit`."""
        refusal = cls.overloaded(public)
        refusal.details = {"policy_class": policy_class, "limit_kind": limit_kind, "current": current, "limit": limit}
        return refusal

    @classmethod
    def shutting_down(cls) -> Refusal:
        """503: the process ends, and the request with it."""
        return cls("Unavailable", "backend.unavailable", "Service is shutting down")

    @classmethod
    def replaced(cls) -> Refusal:
        """503: the same, while others serve on in its place."""
        text = "The process that served the request was replaced, and its time to finish is over; the service goes on"
        return cls("Unavailable", "backend.unavailable", text)
