"""Checks of this host."""

import os
import resource
import shutil

from dynamo_fe.appliance.limits import connections_within, files_for
from dynamo_fe.appliance.listeners import ListenError, open_listeners
from dynamo_fe.appliance.process_name import NAME_PREFIX
from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.cli.preflight import LEAST_FILES
from dynamo_fe.cli.proc import listeners, name_of, stat_of
from dynamo_fe.cli.temporary import temporary_folder
from dynamo_fe.config import ConfigError, Settings


def check_port(settings: Settings) -> Finding:
    """Whether it could be listened on now."""
    place = f"{settings.http_host}:{settings.http_port}"
    try:
        open_listeners(settings.http_host, settings.http_port, 1, 1).close()
    except ListenError as error:
        ours = _own_service(settings.http_port)
        if ours is not None:
            text = f"{place} is in use by dynamo-fe, process {ours}"
            return Finding("warn", "port", text, "nothing, if that is this service; else choose another by --http-port")
        return Finding("fail", "port", str(error), "end what listens there, or choose another port by --http-port")
    return Finding("ok", "port", f"{place} is free")


def _own_service(port: int) -> int | None:
    """The supervisor of what listens there, if that is one of ours."""
    serving = [pid for pid in listeners(port) if name_of(pid).startswith(NAME_PREFIX)]
    return int(stat_of(serving[0])[1]) if serving else None


def check_files(settings: Settings) -> Finding:
    """How many files serving could have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if settings.fd_limit else soft
    needed = files_for(settings.max_connections)
    if limit != resource.RLIM_INFINITY and limit < LEAST_FILES:
        text = f"only {limit} may be open in each process, {LEAST_FILES} are needed to start"
        return Finding("fail", "open files", text, "ulimit -n or LimitNOFILE=")
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = f"{limit} may be open in each process, enough for {connections_within(limit)} connections at a time"
        remedy = f"ulimit -n or LimitNOFILE= to {needed} allows {settings.max_connections}"
        return Finding("warn", "open files", text, remedy)
    return Finding("ok", "open files", f"enough for {settings.max_connections} connections at a time in each process")


def check_temporary_folder() -> Finding:
    """Whether it can be written to."""
    try:
        folder = temporary_folder("dynamo-fe-doctor-")
    except ConfigError as error:
        return Finding("fail", "temporary folder", str(error), "free some space, or name another by TMPDIR")
    shutil.rmtree(folder, ignore_errors=True)
    free_mb = shutil.disk_usage(os.path.dirname(folder)).free >> 20
    return Finding("ok", "temporary folder", f"{os.path.dirname(folder)}, {free_mb} MiB free")
