"""The health service of gRPC. `""` and KServe's service serve when a model would be served; a model's name when it
would be.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from dynamo_fe.grpc.messages import KSERVE_SERVICE, HealthCheckRequest, HealthCheckResponse
from dynamo_fe.grpc.methods import decoded
from dynamo_fe.grpc.outbox import Write
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import Code, Status

_SERVING, _NOT_SERVING, _UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"
# How often the state that a client watches is looked at: it follows timers as well as events.
_LOOK_SECS: Final = 1.0


class Health:
    """One object a process."""

    def __init__(self, services: KserveServices) -> None:
        self._services = services

    def check(self, serialized: bytes) -> bytes:
        """`Check`. Raises Status (NOT_FOUND) for a name that is neither a service nor a model."""
        name = decoded(HealthCheckRequest, serialized).service
        state = self._state(name)
        if state == _UNKNOWN:
            raise Status(Code.NOT_FOUND, f"unknown service {name}")
        return _answer(state)

    async def watch(self, serialized: bytes, write: Write) -> None:
        """`Watch`: the state at once, and each other one that follows, until the process is to end."""
        name = decoded(HealthCheckRequest, serialized).service
        stopping = self._services.stopping
        said = ""
        while not stopping.is_set():
            state = self._state(name)
            if state != said:
                said = state
                await write(_answer(state))
            try:
                async with asyncio.timeout(_LOOK_SECS):
                    await stopping.wait()
            except TimeoutError:
                continue
        await write(_answer(_NOT_SERVING))

    def _state(self, name: str) -> str:
        availability = self._services.availability
        if name in ("", KSERVE_SERVICE):
            ready = bool(availability.servable()) and not self._services.stopping.is_set()
        elif self._services.registry.known(name):
            ready = availability.is_servable(name)
        else:
            return _UNKNOWN
        return _SERVING if ready else _NOT_SERVING


def _answer(state: str) -> bytes:
    response: Any = HealthCheckResponse(status=state)
    serialized: bytes = response.SerializeToString()
    return serialized
