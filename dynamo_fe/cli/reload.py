"""What a reload takes over from a new configuration: all that a new generation of serving processes can begin with."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from dynamo_fe.config import TABLE, Loaded, Settings

_log = logging.getLogger("dynamo_fe.cli")

# What the supervisor itself holds: sockets, the number of processes, and the mock workers with their store.
_FOR_LIFE: Final = (
    "http_host", "http_port", "http_backlog", "workers", "mock_workers", "fd_limit", "heartbeat_timeout_secs",
    "kserve_grpc_server", "kserve_strict", "grpc_port", "grpc_metrics_port",
)  # fmt: skip
_OF_THE_MOCK_WORKERS: Final = ("discovery_backend", "file_kv")


def adopt(loaded: Loaded, running: Settings, in_use: Collection[str] = ()) -> Settings:
    """The new settings with what cannot change while the service runs as it is; names that in the log, and the rest.
    `in_use` are more such settings.
    """
    fresh = loaded.settings
    for_life = (*_FOR_LIFE, *in_use)
    kept = for_life + (_OF_THE_MOCK_WORKERS if running.mock_workers else ())
    merged = replace(fresh, **{name: getattr(running, name) for name in kept})
    labels = {setting.name: setting.label for setting in TABLE}
    waiting = [labels[name] for name in for_life if getattr(fresh, name) != getattr(running, name)]
    if waiting:
        _log.warning("changed, but only a restart takes it over: %s", ", ".join(waiting))
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    _log.info("reloading; changed: %s", ", ".join(_changed(merged, running, labels)) or "nothing")
    return merged


def _changed(fresh: Any, running: Any, labels: dict[str, str]) -> list[str]:
    return [label for name, label in labels.items() if getattr(fresh, name) != getattr(running, name)]
