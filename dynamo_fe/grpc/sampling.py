"""Settings of a completions request among the parameters of a `ModelInferRequest`; the original ignores them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.protocol.openai import CompletionRequest

NAMES: Final = frozenset(
    """max_tokens max_completion_tokens min_tokens temperature top_p top_k min_p seed stop n ignore_eos
    frequency_penalty presence_penalty repetition_penalty""".split()
)
_STOPS: Final = msgspec.json.Decoder(list[str])


def read_sampling(parameters: Any) -> dict[str, Any]:
    """The settings among a map of `InferParameter`, by their names in OpenAI's requests. `stop` is one text, or a list
    of them as JSON; `max_completion_tokens` is the newer name of `max_tokens`, which goes before it.
    """
    found: dict[str, Any] = {}
    for name in NAMES:
        if name not in parameters:
            continue
        member = parameters[name].WhichOneof("parameter_choice")
        value = None if member is None else getattr(parameters[name], member)
        found[name] = _stops(value) if name == "stop" and isinstance(value, str) else value
    if "max_completion_tokens" in found:
        found.setdefault("max_tokens", found.pop("max_completion_tokens"))
    return found


def completion_request(model: str, prompt: str, request_id: str, sampling: dict[str, Any]) -> CompletionRequest:
    """The request in OpenAI's terms. Raises Status for a setting of the wrong type."""
    fields = {"model": model, "prompt": prompt, "stream": True, "user": request_id or None, **sampling}
    try:
        return msgspec.convert(fields, CompletionRequest)
    except msgspec.ValidationError as error:
        raise Status(Code.INVALID_ARGUMENT, f"Invalid request parameter: {error}") from error


def _stops(text: str) -> str | list[str]:
    try:
        return _STOPS.decode(text)
    except msgspec.MsgspecError:
        return text
