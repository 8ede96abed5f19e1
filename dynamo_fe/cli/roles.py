"""The children of one supervisor: what each runs in its own process. Nothing heavy is imported before the fork."""

from typing import Final

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.listeners import Listeners
from dynamo_fe.appliance.role import Role
from dynamo_fe.cli.mock_fleet import MockFleet
from dynamo_fe.config import Settings

# Beyond the time that running requests get: for the worker to close what it holds.
_CLOSING_SECS: Final = 10.0


def make_roles(settings: Settings, fleet: MockFleet, listeners: Listeners) -> list[Role]:
    """In the order in which they are started. A reload makes them anew and takes those that serve."""
    roles = []
    if fleet.settings.mock_workers:
        roles.append(Role("mock worker", lambda _: fleet.run_worker(), count=fleet.settings.mock_workers))
    roles.append(_http_workers(settings, listeners))
    return roles


def grace_secs(settings: Settings) -> float:
    """How long a process that serves may take to end."""
    return settings.drain_timeout_secs + settings.shutdown_timeout_secs + _CLOSING_SECS


def _http_workers(settings: Settings, listeners: Listeners) -> Role:
    def run(control: Control) -> int:
        import uvloop

        from dynamo_fe.cli.serve import serve_worker

        code: int = uvloop.run(serve_worker(settings, control))
        return code

    count = len(listeners.sockets)
    return Role(
        "worker", run, count, listeners=listeners, serves=True, watched=True, grace_secs=grace_secs(settings)
    )  # fmt: skip
