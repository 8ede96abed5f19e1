"""The composition root of one serving process: every part is made here and handed to those that need it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.supervisor import HOPELESS_EXIT_CODE
from dynamo_fe.cli.drain import Stop, close, depart, drain, hand_over
from dynamo_fe.cli.grpc_address import GrpcAddress
from dynamo_fe.cli.http_server import HttpServer, NoHttp
from dynamo_fe.cli.kv_index import KvIndex, kv_index
from dynamo_fe.cli.kv_serving import KvPlace, make_kv_router, running
from dynamo_fe.cli.kv_shared import KvShared
from dynamo_fe.cli.mirrors import mirror_models, mirror_process, mirror_stages, mirror_stores
from dynamo_fe.cli.preflight import within_open_files
from dynamo_fe.cli.pulse import describe, pulse
from dynamo_fe.cli.remarks import remarks
from dynamo_fe.cli.roles import accept_secs, seat_of, with_call_back_port_of
from dynamo_fe.config.settings import Settings
from dynamo_fe.discovery.base import Discovery
from dynamo_fe.discovery.factory import open_discovery
from dynamo_fe.http.app import App
from dynamo_fe.http.services import Services
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.file_cache import FileCache
from dynamo_fe.models.loader import load_model
from dynamo_fe.models.namespaces import NamespaceFilter
from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.logs import configure
from dynamo_fe.ops.loop_watch import LoopWatch
from dynamo_fe.ops.sibling_metrics import SiblingMetrics, group_of
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.lifetimes import Lifetimes
from dynamo_fe.pipeline.migration import MigrationRules
from dynamo_fe.pipeline.prepare import Preparer
from dynamo_fe.pipeline.router_counts import RouterCounts
from dynamo_fe.pipeline.worker_load import LoadLimits, WorkerLoads
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.planes.request.factory import open_request_plane
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.kserve_rest import KserveRest
from dynamo_fe.routing.busy_thresholds import BusyThreshold, BusyThresholds
from dynamo_fe.routing.modes import mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router
from dynamo_fe.routing.threshold_board import ThresholdBoard

if TYPE_CHECKING:
    from dynamo_fe.grpc.server import KserveServer

_log = logging.getLogger("dynamo_fe.serve")

# whole in every JSON reader, like the ids of publishers
_PROCESS_ID_BITS = 53
# How long a starting process waits for discovery, and then for its models, before it takes connections all the same.
_CONNECT_SECS = 1.0
_LOAD_SECS = 10.0


async def serve_worker(settings: Settings, control: Control, shared: KvShared, grpc: GrpcAddress | None = None) -> int:
    """Serves on the listener given, and gRPC on its address, until told to end, then lets running requests end; returns
    the exit code.
    """
    configure(settings.log_level, settings.log_jsonl)
    stop = Stop()
    seat, seats = seat_of(settings, control)
    settings = with_call_back_port_of(within_open_files(settings), seat)
    try:
        discovery = open_discovery(settings, seat=seat)
        plane = open_request_plane(settings)
    except ValueError as error:
        _log.error("%s", error)
        return HOPELESS_EXIT_CODE
    kv_place = KvPlace(shared, seat, kv_index(settings, shared))
    services = build_services(settings, discovery, plane, kv_place)
    services.siblings = SiblingMetrics(services.metrics.registry, group_of(os.getppid()), seat, seats)
    server = _http_server(services, control)
    kserve = None if grpc is None else _kserve_server(services, grpc)
    _relax_garbage_collection()
    beating = asyncio.create_task(pulse(control, services), name="pulse")
    watch = LoopWatch(services.metrics.loop_delay.labels(), services.metrics.loop_stalls.labels())
    async with services.siblings, _running(plane, discovery, services, kv_place.index) as following:
        stopping = await _look_around(services, stop)
        if stop.handing_over:
            # others serve on the same socket already, also what waits there
            return 0
        serving = asyncio.create_task(server.run(), name="http-server")
        accepting = asyncio.create_task(server.accepting(), name="accepting")
        await asyncio.wait([serving, accepting], return_when=asyncio.FIRST_COMPLETED)
        if kserve is not None:
            await kserve.start()
        if accepting.done():
            control.status(describe(services))
            control.ready()
        await asyncio.wait([serving, stopping, following], return_when=asyncio.FIRST_COMPLETED)
        for ended in (serving, following):
            if ended.done():
                await ended
                return 1
        if not stop.handing_over:
            await depart(services, accept_secs(settings))
        if kserve is not None:
            services.draining = not stop.handing_over
            await kserve.stop(settings.drain_timeout_secs)
        if stop.handing_over:
            await hand_over(services, server, settings.drain_timeout_secs)
        else:
            await drain(services, server, settings.shutdown_timeout_secs, settings.drain_timeout_secs)
        await close(server, serving)
    beating.cancel()
    watch.close()
    return 0


async def _look_around(services: Services, stop: Stop) -> asyncio.Task[None]:
    """Waits for a first view of the workers, or for the end, whose task is returned. A process that replaces a dead one
    inherits its queue: it must not refuse what its siblings would serve.
    """
    stopping = asyncio.create_task(stop.wait(), name="stop")
    view = asyncio.create_task(services.registry.first_view(_CONNECT_SECS, _LOAD_SECS), name="first-view")
    await asyncio.wait([view, stopping], return_when=asyncio.FIRST_COMPLETED)
    return stopping


def _http_server(services: Services, control: Control) -> HttpServer | NoHttp:
    if control.listener is None:
        return NoHttp()
    return HttpServer(App(services), control.listener, services.settings, services.connections)


def _kserve_server(services: Services, address: GrpcAddress) -> KserveServer:
    from dynamo_fe.cli.grpc_server import bound_server

    return bound_server(services, address)


def build_services(settings: Settings, discovery: Discovery, plane: RequestPlane, kv_place: KvPlace) -> Services:
    """Makes every part of a serving process and hands it to those that need it."""
    metrics = FrontendMetrics(settings.metrics_prefix)
    loads = WorkerLoads(LoadLimits(settings.max_wait_secs, settings.least_waiting, settings.capacity_factor))
    mode = mode_of(settings.router_mode, loads.of, settings.encoder_cuda_to_cpu_ratio)
    router = Router(mode, Quarantine(settings.inhibited_secs), discovery.leaving)
    pool = TokenizePool(settings.tokenize_threads, settings.tokenize_inline_bytes, settings.tokenize_queue)
    load_card = _model_loading(settings, pool)
    process_id = secrets.randbits(_PROCESS_ID_BITS) | 1
    counts = RouterCounts(metrics.workers, process_id)

    def instance_removed(instance_id: int) -> None:
        router.instance_removed(instance_id)
        plane.instance_removed(instance_id)
        counts.forget(instance_id)

    async def load(card: ModelCard) -> ServedModel:
        return await load_card(card, busy=bool(registry.listing()))

    namespaces = NamespaceFilter(settings.namespace, settings.namespace_prefix, settings.namespace_prefix_strict)
    transports = frozenset({settings.request_plane})
    thresholds = _busy_thresholds(settings, kv_place.shared.thresholds)
    kv = make_kv_router(settings, kv_place, metrics.registry, thresholds, process_id)

    def on_change() -> None:
        if kv is not None:
            kv.settle(registry.sets())

    told = remarks(settings)
    registry = ModelRegistry(
        discovery, load, namespaces, instance_removed, on_change=on_change, transports=transports, remark=told
    )
    mirror_models(metrics, registry, router)
    rules = MigrationRules(settings.migration_limit, settings.migration_max_seq_len)
    services = Services(
        settings=settings,
        registry=registry,
        preparer=_preparer(settings, metrics, chooses_ranks=kv is not None),
        dispatcher=Dispatcher(registry, router, plane, metrics, settings.dispatch_attempts, rules, loads, counts, kv),
        busy_thresholds=thresholds,
        router=router,
        metrics=metrics,
        lifetimes=Lifetimes(settings.request_timeout_secs, settings.max_requests),
    )
    services.kserve = functools.cache(lambda: _kserve_rest(services))
    mirror_process(metrics, process_id)
    mirror_stores(services, plane, loads, pool)
    mirror_stages(services, counts, loads, pool)
    discovery.show(metrics.registry)
    return services


def _preparer(settings: Settings, metrics: FrontendMetrics, *, chooses_ranks: bool) -> Preparer:
    return Preparer(
        metrics,
        settings.enforce_context_length,
        settings.max_prompt_tokens,
        settings.exclude_tools_when_tool_choice_none,
        chooses_ranks,
        settings.allow_internal_media,
    )


def _kserve_rest(services: Services) -> KserveRest:
    from dynamo_fe.cli.grpc_server import kserve_services
    from dynamo_fe.grpc.rest import Rest

    return Rest(kserve_services(services))


def _model_loading(settings: Settings, pool: TokenizePool) -> Callable[..., Awaitable[ServedModel]]:
    return functools.partial(
        load_model,
        pool=pool,
        fast_encoders=FastEncoders(),
        tokenizer_mode=settings.tokenizer,
        model_path=Path(settings.model_path) if settings.model_path else None,
        cache=file_cache(settings),
    )


def file_cache(settings: Settings) -> FileCache | None:
    """Where files of models are kept that workers name by a URL; None where there is no such place."""
    try:
        folder = Path(settings.cache_dir).expanduser()
    except RuntimeError:
        _log.warning("no home folder for %s: nothing is fetched; DYN_FE_CACHE_DIR names another", settings.cache_dir)
        return None
    return FileCache(
        folder,
        settings.cache_mb << 20,
        settings.model_file_mb << 20,
        settings.model_fetch_timeout_secs,
    )


def _busy_thresholds(settings: Settings, board: ThresholdBoard) -> BusyThresholds:
    default = BusyThreshold(
        settings.active_decode_blocks_threshold,
        settings.active_prefill_tokens_threshold,
        settings.active_prefill_tokens_threshold_frac,
    )
    return BusyThresholds(default, board)


def _relax_garbage_collection() -> None:
    """Everything imported lives as long as the process, and requests leave few cycles: look for them seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextlib.asynccontextmanager
async def _running(
    plane: RequestPlane, discovery: Discovery, services: Services, index: KvIndex | None
) -> AsyncIterator[asyncio.Task[None]]:
    """Yields the task that follows discovery: without it the process would serve an ever older view."""
    await plane.start()
    await discovery.start()
    following = asyncio.create_task(services.registry.run(), name="registry")
    try:
        async with running(services, index, discovery, plane):
            yield following
    finally:
        await services.registry.close()
        await asyncio.wait([following])
        await discovery.close()
        await plane.close()
