"""What crosses between the HTTP server and KServe's REST routes, which share neither code nor types otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

# how much of a body is JSON where bytes of tensors stand behind it
JSON_LENGTH: Final = b"inference-header-content-length"

Headers = list[tuple[bytes, bytes]]


class RestAnswer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class RestRequest(NamedTuple):
    """A request whose body has been read; header names in lower case."""

    method: str
    path: str
    headers: Headers
    body: bytes


class KserveRest(Protocol):
    """The routes below /v2."""

    async def answer(self, request: RestRequest, write: Callable[[bytes], Awaitable[None]]) -> RestAnswer | None:
        """The answer; None where it was a stream of events, all of which went through `write`. A stream that fails
        before its first event is answered like any other request.
        """
