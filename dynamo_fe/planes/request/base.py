"""The verbs of every request plane."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Protocol

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance


class StreamSink(Protocol):
    """Takes one stream's answer; called on the loop, straight from the socket callback."""

    def on_items(self, items: list[OutputItem]) -> None:
        """Everything that one socket read brought, never empty."""

    def on_end(self, error: RequestError | None) -> None:
        """Exactly once, unless the stream was cancelled; None after the final marker. Nothing follows."""


class ResponseHandle(Protocol):
    """The requester's hold on one running stream. `queued_until` is when it could be sent (`time.perf_counter`)."""

    queued_until: float

    def cancel(self) -> None:
        """Tells the worker to stop and lets go; the sink hears nothing more. Idempotent, at any time."""

    def pause(self) -> None:
        """Stops reading the worker's socket; the timers that watch the worker stand still."""

    def resume(self) -> None:
        """Reads on."""


class RequestPlane(abc.ABC):
    """Sends requests to instances. One object serves a whole process."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Raises OSError if a listener cannot be opened, ValueError if its address cannot be told to workers."""

    @abc.abstractmethod
    async def dispatch(
        self,
        instance: Instance,
        request_id: str,
        body: bytes,
        metadata: Mapping[str, str] | None,
        sink: StreamSink,
        trace_headers: Mapping[str, str] | None = None,
    ) -> ResponseHandle:
        """Sends `body`, encoded in the instance's codec, and returns once it is written.

        Raises RequestError if the instance cannot be reached, if the request is too large or a bound of ours is
        reached; all that happens later goes to `sink`.
        """

    @abc.abstractmethod
    def instance_removed(self, instance_id: int) -> None:
        """The instance left discovery: its requests that have not begun to be answered fail, running streams go on."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Ends every stream with an error and closes every socket."""

    @abc.abstractmethod
    def reasons(self) -> list[str]:
        """What keeps requests from every worker, for an operator; empty if nothing does."""

    @abc.abstractmethod
    def stats(self) -> dict[str, int]:
        """What is in hand now, by name."""
