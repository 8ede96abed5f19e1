"""The composition root of one serving process: every part is made here and handed to those that need it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from dynamo_fe.appliance.control import WorkerControl
from dynamo_fe.appliance.supervisor import HOPELESS_EXIT_CODE
from dynamo_fe.cli.http_server import HttpServer
from dynamo_fe.config.settings import Settings
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.http.app import App
from dynamo_fe.http.services import Services
from dynamo_fe.models.loader import load_model
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.logs import configure
from dynamo_fe.ops.sibling_metrics import SiblingMetrics
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.prepare import Preparer
from dynamo_fe.planes.request.options import TcpPlaneOptions
from dynamo_fe.planes.request.tcp import TcpRequestPlane
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.routing.modes import mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router

_log = logging.getLogger("dynamo_fe.serve")

# How long a starting process waits for discovery, and then for its models, before it takes connections all the same.
_CONNECT_SECS = 1.0
_LOAD_SECS = 10.0


async def serve_worker(settings: Settings, index: int, listener: socket.socket, control: WorkerControl) -> int:
    """Serves on `listener` until SIGTERM, then lets running requests end; returns the exit code."""
    configure(settings.log_level, settings.log_jsonl)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        discovery = open_discovery(settings)
    except ValueError as error:
        _log.error("%s", error)
        return HOPELESS_EXIT_CODE
    plane = TcpRequestPlane(plane_options(settings))
    services = build_services(settings, discovery, plane)
    services.siblings = SiblingMetrics(services.metrics.registry, os.getppid(), index, control.count)
    server = HttpServer(App(services), listener, settings.http_backlog, settings.max_connections)
    _relax_garbage_collection()
    async with services.siblings, _running(plane, discovery, services.registry) as following:
        # A process that replaces a dead one inherits its queue: it must not refuse what its siblings would serve.
        stopping = asyncio.create_task(stop.wait(), name="stop")
        view = asyncio.create_task(services.registry.first_view(_CONNECT_SECS, _LOAD_SECS), name="first-view")
        await asyncio.wait([view, stopping], return_when=asyncio.FIRST_COMPLETED)
        serving = asyncio.create_task(server.run(), name="http-server")
        accepting = asyncio.create_task(server.accepting(), name="accepting")
        await asyncio.wait([serving, accepting], return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            control.ready()
        await asyncio.wait([serving, stopping, following], return_when=asyncio.FIRST_COMPLETED)
        for ended in (serving, following):
            if ended.done():
                await ended
                return 1
        await _drain(services, settings.drain_timeout_secs)
        server.stop()
        await serving
    return 0


def build_services(settings: Settings, discovery: Discovery, plane: TcpRequestPlane) -> Services:
    """Makes every part of a serving process and hands it to those that need it."""
    metrics = FrontendMetrics(settings.metrics_prefix)
    router = Router(mode_of(settings.router_mode), Quarantine(settings.inhibited_secs))
    pool = TokenizePool(settings.tokenize_threads, settings.tokenize_inline_bytes, settings.tokenize_queue)
    model_path = Path(settings.model_path) if settings.model_path else None

    def instance_removed(instance_id: int) -> None:
        router.instance_removed(instance_id)
        plane.instance_removed(instance_id)

    async def load(card: ModelCard) -> ServedModel:
        busy = bool(registry.listing())
        return await load_model(card, pool=pool, tokenizer_mode=settings.tokenizer, model_path=model_path, busy=busy)

    namespaces = NamespaceFilter(settings.namespace, settings.namespace_prefix, settings.namespace_prefix_strict)
    registry = ModelRegistry(discovery, load, namespaces, instance_removed)
    services = Services(
        settings=settings,
        registry=registry,
        preparer=Preparer(metrics, settings.enforce_context_length, settings.exclude_tools_when_tool_choice_none),
        dispatcher=Dispatcher(registry, router, plane, metrics, settings.dispatch_attempts),
        router=router,
        metrics=metrics,
    )
    mirror_models(services)
    return services


def _relax_garbage_collection() -> None:
    """Everything imported lives as long as the process, and requests leave few cycles: look for them seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def plane_options(settings: Settings) -> TcpPlaneOptions:
    """The request plane's part of the settings. The original's one silence limit, when set, stands for both of ours."""
    silence = settings.backend_stream_timeout_secs
    return TcpPlaneOptions(
        connect_timeout_secs=settings.tcp_connect_timeout_secs,
        ack_timeout_secs=settings.ack_timeout_secs,
        handshake_timeout_secs=settings.handshake_timeout_secs,
        callback_timeout_secs=settings.callback_timeout_secs,
        prologue_timeout_secs=settings.prologue_timeout_secs,
        first_item_timeout_secs=silence or settings.first_item_timeout_secs,
        item_timeout_secs=silence or settings.item_timeout_secs,
        max_request_bytes=settings.max_request_bytes,
        max_frame_bytes=settings.max_frame_bytes,
        listen_host=settings.tcp_response_stream_host,
        listen_port=settings.tcp_response_stream_port,
        pool_unacked_requests=settings.pool_unacked_requests,
        pool_connections=settings.pool_connections,
        pool_idle_secs=settings.pool_idle_secs,
    )


def mirror_models(services: Services) -> None:
    """Has the gauges about models and workers set from the registry before each scrape."""
    metrics = services.metrics
    shown: set[str] = set()

    def refresh() -> None:
        listing = services.servable()
        for name in shown - listing.keys():
            metrics.model_ready.labels(name).set(0)
        shown.update(listing)
        for name, model in listing.items():
            metrics.model_ready.labels(name).set(1)
            metrics.context_length.labels(name).set(model.context_length)
            metrics.block_size.labels(name).set(model.card.kv_cache_block_size)
        metrics.set_aside.labels().set(len(services.router.left_out()))

    metrics.registry.before_snapshot(refresh)


@contextlib.asynccontextmanager
async def _running(
    plane: TcpRequestPlane, discovery: Discovery, registry: ModelRegistry
) -> AsyncIterator[asyncio.Task[None]]:
    """Yields the task that follows discovery: without it the process would serve an ever older view."""
    await plane.start()
    await discovery.start()
    following = asyncio.create_task(registry.run(), name="registry")
    try:
        yield following
    finally:
        await registry.close()
        await asyncio.wait([following])
        await discovery.close()
        await plane.close()


async def _drain(services: Services, limit_secs: float) -> None:
    """Refuses new requests and waits for the running ones, at most `limit_secs`."""
    services.draining = True
    if not services.requests_in_hand:
        return
    _log.info("draining %d requests", services.requests_in_hand)
    try:
        async with asyncio.timeout(limit_secs):
            await services.idle.wait()
    except TimeoutError:
        _log.warning("%d requests were still running after %g s", services.requests_in_hand, limit_secs)
