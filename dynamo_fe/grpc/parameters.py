"""Parameters: `InferParameter` messages to what a worker is sent, and back."""

from __future__ import annotations

from typing import Any, Final

from dynamo_fe.grpc.status import Status
from dynamo_fe.protocol.tensor import Parameters

_SUFFIX: Final = "_param"


def read_parameters(given: Any) -> Parameters:
    """A map of parameters as one-key dictionaries. Raises Status for one without a value."""
    found: Parameters = {}
    for key, parameter in given.items():
        member = parameter.WhichOneof("parameter_choice")
        if member is None:
            raise Status.bad_request(f"Parameter '{key}' has no value")
        found[key] = {member.removesuffix(_SUFFIX): getattr(parameter, member)}
    return found


def write_parameters(target: Any, parameters: Parameters) -> None:
    """Fills a map of parameters from checked one-key dictionaries."""
    for key, value in parameters.items():
        for kind, inner in value.items():
            setattr(target[key], kind + _SUFFIX, inner)
