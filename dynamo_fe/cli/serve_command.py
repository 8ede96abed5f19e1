"""`dynamo-fe serve`: from the command line to running processes, in the supervisor. Nothing heavy is imported here."""

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from dynamo_fe.appliance.limits import files_for, open_files_limit, raise_fd_limit
from dynamo_fe.appliance.listeners import ListenError, Listeners, inherit_listeners, open_listeners
from dynamo_fe.appliance.notify import Notifier
from dynamo_fe.appliance.role import Role
from dynamo_fe.appliance.supervisor import ReloadRefused, Supervisor
from dynamo_fe.cli.config_dump import dump_config
from dynamo_fe.cli.kv_shared import KvShared
from dynamo_fe.cli.mock_fleet import MockFleet
from dynamo_fe.cli.places import check_pod, try_call_backs
from dynamo_fe.cli.preflight import blaming, check_resources, configuration, within_open_files
from dynamo_fe.cli.refusal import refuse
from dynamo_fe.cli.reload import adopt
from dynamo_fe.cli.roles import make_roles
from dynamo_fe.config import TABLE, ConfigError, Loaded, Settings
from dynamo_fe.config.errors import FAILED
from dynamo_fe.config.origin import DEFAULT_ORIGIN, place_of
from dynamo_fe.ops.logs import configure, say

_log = logging.getLogger("dynamo_fe.cli")

# of --grpc-metrics-port
DEFAULT_METRICS_PORT: Final = 8788


def serve(argv: Sequence[str]) -> int:
    """Serves until a signal; returns the exit code. Whatever is wrong with the configuration is one line on stderr."""
    if "-h" in argv or "--help" in argv:
        return _print_help()
    if "--version" in argv:
        from dynamo_fe.cli.version import print_version

        return print_version()
    jsonl: bool | None = None
    try:
        loaded = configuration(argv, os.environ)
        jsonl = loaded.settings.log_jsonl
        with closing(MockFleet(loaded.settings, loaded.origins)) as fleet:
            return _run(argv, loaded, fleet)
    except ConfigError as error:
        return refuse(error, jsonl)
    except ListenError as error:
        say(logging.ERROR, str(error), jsonl=jsonl)
        return FAILED


def _run(argv: Sequence[str], loaded: Loaded, fleet: MockFleet) -> int:
    settings = fleet.settings
    configure(settings.log_level, settings.log_jsonl)
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    notifier = Notifier(os.environ)
    listeners = inherit_listeners(os.environ, settings.workers)
    # As the original does, so that no child takes it for its own.
    os.environ.pop("DYN_SYSTEM_PORT", None)
    _allow_open_files(settings)
    blaming(loaded, check_pod, try_call_backs)
    dump_config(settings)
    if listeners is None:
        listeners = _open_http(settings)
    elif loaded.origins["http_port"] != DEFAULT_ORIGIN and settings.http_port != listeners.port:
        place = place_of("http_port", loaded.origins)
        _log.warning("%s: has no effect: the socket from systemd has port %d", place, listeners.port)
    grpc = _hold_grpc(settings)
    kv = KvShared()

    def reload() -> list[Role]:
        nonlocal settings
        try:
            # dead processes are not replaced meanwhile, and no signal is heard
            fresh = adopt(configuration(argv, os.environ, may_wait=False), settings, kv.for_life)
            roles = make_roles(fresh, fleet, listeners, grpc, kv)
        except ConfigError as error:
            raise ReloadRefused(str(error)) from None
        settings = fresh
        configure(settings.log_level, settings.log_jsonl)
        return roles

    supervisor = Supervisor(
        make_roles(settings, fleet, listeners, grpc, kv),
        notifier=notifier,
        heartbeat_secs=settings.heartbeat_timeout_secs,
        on_serving=lambda: _announce(listeners, grpc, fleet),
        reload=reload,
    )
    return supervisor.run()


def _allow_open_files(settings: Settings) -> None:
    if settings.fd_limit:
        raise_fd_limit(max(settings.fd_limit, files_for(settings.max_connections)))
    check_resources()
    served = within_open_files(settings).max_connections
    if served < settings.max_connections:
        _log.warning(
            "%d connections at a time instead of %d, as only %s files may be open: raise ulimit -n or LimitNOFILE=",
            served, settings.max_connections, open_files_limit(),
        )  # fmt: skip


def _open_http(settings: Settings) -> Listeners:
    if not settings.grpc_only:
        return open_listeners(settings.http_host, settings.http_port, settings.workers, settings.http_backlog)
    # 0 counts as not given, as in the original
    port = settings.grpc_metrics_port or DEFAULT_METRICS_PORT
    return open_listeners(_grpc_host(settings), port, 1, settings.http_backlog, flag="--grpc-metrics-port")


def _hold_grpc(settings: Settings) -> Listeners | None:
    port = settings.http_port if settings.grpc_only else settings.grpc_port
    flag = "--http-port" if settings.grpc_only else "--grpc-port"
    return None if port is None else open_listeners(_grpc_host(settings), port, 1, 0, held=True, flag=flag)


def _grpc_host(settings: Settings) -> str:
    """The original's gRPC mode ignores --http-host."""
    return "0.0.0.0" if settings.kserve_strict and settings.grpc_only else settings.http_host


def _announce(listeners: Listeners, grpc: Listeners | None, fleet: MockFleet) -> None:
    if grpc is not None:
        _log.info("serving KServe gRPC on %s:%d", grpc.host, grpc.port)
    count = len(listeners.sockets)
    host = f"[{listeners.host}]" if ":" in listeners.host else listeners.host
    scheme = "http" if fleet.settings.tls_cert_path is None else "https"
    processes = "1 process" if count == 1 else f"{count} processes"
    _log.info("serving on %s://%s:%d in %s", scheme, host, listeners.port, processes)
    if fleet.settings.mock_workers:
        _log.info("try it: %s", fleet.example(listeners.host, listeners.port))


def _print_help() -> int:
    from dynamo_fe.cli.help import render
    from dynamo_fe.cli.main import COMMANDS

    print(render(TABLE, [(command.name, command.summary) for command in COMMANDS if command.summary]), end="")
    return 0
