"""Keeping the prefix index: in a process of its own beside several that serve, or within the only one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.supervisor import HOPELESS_EXIT_CODE
from dynamo_fe.config.settings import Settings
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.discovery.records import Records
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.ops.logs import configure
from dynamo_fe.planes.event.base import EventPlane
from dynamo_fe.planes.event.factory import open_event_plane
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.planes.request.factory import open_request_plane
from dynamo_fe.routing.kv_events.consumer import KvEventConsumer
from dynamo_fe.routing.kv_events.memory import IndexMemory

_log = logging.getLogger("dynamo_fe.indexer")

_BEAT_SECS: Final = 1.0
# A choice in another process cannot ask it to take what has come: who answers an answer at once is to find its blocks.
_GATHER_SECS: Final = 0.0


@contextlib.asynccontextmanager
async def indexing(
    settings: Settings, memory: IndexMemory, discovery: Discovery, requests: RequestPlane, events: EventPlane
) -> AsyncIterator[KvEventConsumer]:
    """Keeps the index while it lasts, beginning with what the workers hold now. All parts must be started."""
    namespaces = NamespaceFilter(settings.namespace, settings.namespace_prefix, settings.namespace_prefix_strict)
    consumer = KvEventConsumer(
        events, requests, Records(discovery), memory.writer(), memory.tally(), namespaces.shows
    )
    try:
        yield consumer
    finally:
        consumer.close()


async def run_indexer(settings: Settings, memory: IndexMemory, control: Control) -> int:
    """The process that keeps the index for all that serve, until SIGTERM; returns the exit code."""
    configure(settings.log_level, settings.log_jsonl)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # the port that may be set for call-backs is one of those that serve
    own = replace(settings, tcp_response_stream_port=0)
    try:
        discovery = open_discovery(own)
        requests = open_request_plane(own)
        events = open_event_plane(own, Records(discovery), _GATHER_SECS)
        await requests.start()
        await events.start()
    except (OSError, ValueError) as error:
        _log.error("%s", error)
        return HOPELESS_EXIT_CODE
    await discovery.start()
    async with indexing(own, memory, discovery, requests, events):
        control.ready()
        while not stop.is_set():
            control.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_SECS):
                    await stop.wait()
    await events.close()
    await requests.close()
    await discovery.close()
    return 0
