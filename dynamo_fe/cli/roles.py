"""The children of one supervisor: what each runs in its own process. Nothing heavy is imported before the fork."""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.listeners import Listeners
from dynamo_fe.appliance.role import GENERATIONS, Role
from dynamo_fe.cli.grpc_address import GrpcAddress
from dynamo_fe.cli.kv_shared import KvShared, shares_index
from dynamo_fe.cli.mock_fleet import MockFleet
from dynamo_fe.cli.places import seats_of
from dynamo_fe.cli.preflight import wants_tls
from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.groups.backends import DiscoverySettings, PlaneSettings
from dynamo_fe.config.groups.server import LogSettings
from dynamo_fe.config.groups.transport_security import NatsSettings, TransportSecuritySettings

if TYPE_CHECKING:
    from dynamo_fe.cli.tls_files import HeldTls
    from dynamo_fe.routing.kv_events.memory import IndexMemory

# Beyond the time that running requests get: for the worker to close what it holds.
_CLOSING_SECS: Final = 10.0
# For the EndpointSlices of Kubernetes, and all that follow them, to drop a pod.
_SLICES_SECS: Final = 5.0
_GRPC_ROLE: Final = "gRPC worker"
_WAYS_TO_WORKERS: Final = {
    each.group
    for each in (DiscoverySettings, PlaneSettings, LogSettings, TransportSecuritySettings, NatsSettings)
}


def make_roles(
    settings: Settings, fleet: MockFleet, listeners: Listeners, grpc: Listeners | None, kv: KvShared
) -> list[Role]:
    """In the order in which they are started. A reload makes them anew; of the helpers it takes those that are new, and
    ends those that are missing. `grpc` is the port
    of KServe's server, where there is one: held, not listened on. Raises ConfigError for a TLS file that is not any
    more what it was when it was checked.
    """
    tls = None
    if wants_tls(settings):
        from dynamo_fe.cli.tls_files import hold_tls_files

        tls = hold_tls_files(settings)
    kv.prepare(settings)
    roles = []
    if fleet.settings.mock_workers:
        roles.append(Role("mock worker", lambda _: fleet.run_worker(), count=fleet.settings.mock_workers))
    if kv.index is not None and shares_index(settings):
        roles.append(_indexer(settings, tls, kv.index))
    address = None if grpc is None else GrpcAddress(grpc.host, grpc.port)
    roles.append(_serving(settings, tls, "worker", listeners, address if settings.grpc_only else None, kv))
    if address is not None and not settings.grpc_only:
        roles.append(_serving(settings, tls, _GRPC_ROLE, None, address, kv))
    return roles


def _indexer(settings: Settings, tls: "HeldTls | None", memory: "IndexMemory") -> Role:
    """Lives over reloads that leave it what it is made from. Its memory, and so the size of that, is for life."""

    def run(control: Control) -> int:
        import uvloop

        from dynamo_fe.cli.indexing import run_indexer

        code: int = uvloop.run(run_indexer(_held(settings, tls), memory, control))
        return code

    return Role("indexer", run, watched=True, made_from=_ways_to_workers(settings))


def _held(settings: Settings, tls: "HeldTls | None") -> Settings:
    return settings if tls is None else tls.settings


def _ways_to_workers(settings: Settings) -> tuple[object, ...]:
    """What a process that only hears workers takes from the settings, and which state the files have that they name."""
    values = [getattr(settings, row.name) for row in TABLE if row.group in _WAYS_TO_WORKERS]
    files = (value for value in values if isinstance(value, str) and os.path.isfile(value))
    return *values, *(os.stat(path).st_mtime_ns for path in files)


def seat_of(settings: Settings, control: Control) -> tuple[int, int]:
    """A number that no other living process that serves has, and how many there may be: HTTP workers, then gRPC's."""
    return control.place.seat + _first_seat(settings, control.listener is not None), seats_of(settings)


def with_call_back_port_of(settings: Settings, seat: int) -> Settings:
    """Each process that serves has a call-back port of its own: that of the settings, or one behind it."""
    first = settings.tcp_response_stream_port
    return replace(settings, tcp_response_stream_port=first + seat) if first else settings


def _first_seat(settings: Settings, http: bool) -> int:
    return 0 if http else GENERATIONS * settings.workers


def accept_secs(settings: Settings) -> float:
    """How long requests are still served when the service is to end."""
    if settings.drain_accept_secs is not None:
        return settings.drain_accept_secs
    return _SLICES_SECS if settings.discovery_backend == "kubernetes" else 0.0


def grace_secs(settings: Settings) -> float:
    """How long a process that serves may take to end."""
    waits = accept_secs(settings) + settings.drain_timeout_secs + settings.shutdown_timeout_secs
    return waits + _CLOSING_SECS


def _serving(
    settings: Settings,
    tls: "HeldTls | None",
    name: str,
    listeners: Listeners | None,
    grpc: GrpcAddress | None,
    kv: KvShared,
) -> Role:
    def run(control: Control) -> int:
        import uvloop

        from dynamo_fe.cli.serve import serve_worker

        code: int = uvloop.run(serve_worker(_held(settings, tls), control, kv, grpc))
        return code

    count = 1 if listeners is None else len(listeners.sockets)
    first_seat = _first_seat(settings, listeners is not None)
    return Role(
        name,
        run,
        count,
        listeners=listeners,
        serves=True,
        watched=True,
        grace_secs=grace_secs(settings),
        on_end=lambda seat: kv.process_ended(first_seat + seat),
    )
