"""Checks of this host."""

import os
import resource
import shutil
import time
from typing import Final

from dynamo_fe.appliance.listeners import ListenError, open_listeners
from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.cli.temporary import temporary_folder
from dynamo_fe.config import ConfigError, Settings

# one for the client and up to one for the worker of each, and some for ourselves
_FILES_A_REQUEST: Final = 2
_FILES_OF_OURS: Final = 100
# long before this program was written
_EARLIEST: Final = 1_750_000_000.0


def check_port(settings: Settings) -> Finding:
    """Whether it could be listened on now."""
    place = f"{settings.http_host}:{settings.http_port}"
    try:
        open_listeners(settings.http_host, settings.http_port, 1, 1).close()
    except ListenError as error:
        return Finding("fail", "port", str(error), "end what listens there, or choose another port by --http-port")
    return Finding("ok", "port", f"{place} is free")


def check_files(settings: Settings) -> Finding:
    """How many files serving could have open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    target = settings.fd_limit if hard == resource.RLIM_INFINITY else min(settings.fd_limit, hard)
    needed = _FILES_A_REQUEST * settings.max_connections + _FILES_OF_OURS
    text = f"{target} may be open at once in each process"
    if target < needed:
        most = max(0, (target - _FILES_OF_OURS) // _FILES_A_REQUEST)
        remedy = f"DYN_FRONTEND_FD_LIMIT_TARGET={needed} allows all of max_connections; ulimit -n bounds it"
        return Finding("warn", "open files", f"{text}, enough for {most} requests at once", remedy)
    return Finding("ok", "open files", text)


def check_temporary_folder() -> Finding:
    """Whether it can be written to."""
    try:
        folder = temporary_folder("dynamo-fe-doctor-")
    except ConfigError as error:
        return Finding("fail", "temporary folder", str(error), "free some space, or name another by TMPDIR")
    shutil.rmtree(folder, ignore_errors=True)
    free_mb = shutil.disk_usage(os.path.dirname(folder)).free >> 20
    return Finding("ok", "temporary folder", f"{os.path.dirname(folder)}, {free_mb} MiB free")


def check_clock() -> Finding:
    """Leases and certificates go by it."""
    if time.time() < _EARLIEST:
        return Finding("fail", "clock", f"it says {time.strftime('%F')}", "set it, by NTP for instance")
    return Finding("ok", "clock", time.strftime("%FT%TZ", time.gmtime()))
