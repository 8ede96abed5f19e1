"""Getting a request to a worker: which failure a client sees, and what another try may do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.dispatch import Dispatcher, Job
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.routing.modes import mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router


class Plane:
    """A request plane that answers each dispatch with the next of `outcomes`: an exception to raise, or a handle."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[int] = []

    async def dispatch(self, instance: Any, *_: Any) -> Any:
        self.asked.append(instance.instance_id)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Delivery:
    def __init__(self) -> None:
        self.ends: list[RequestError | None] = []
        self.attached: list[Any] = []
        self.on_failure: Any = None

    def attach(self, handle: Any, codec: str) -> None:
        self.attached.append(handle)

    def on_end(self, error: RequestError | None) -> None:
        self.ends.append(error)


def dispatcher(plane: Plane, *numbers: int, checksum: str = "sum", mode: str = "round-robin") -> tuple[Dispatcher, Job]:
    instances = {number: SimpleNamespace(instance_id=number, codec="json") for number in numbers}
    entry = SimpleNamespace(key="set", instances=instances, served=SimpleNamespace(mdc_sum=checksum))
    registry: Any = SimpleNamespace(find=lambda name: [entry], suspect=lambda number: None)
    router = Router(mode_of(mode), Quarantine(5))
    body = SimpleNamespace(routing={})
    prepared: Any = SimpleNamespace(model=SimpleNamespace(mdc_sum="sum"), body=body)
    job = Job("id", "m", prepared, Delivery(), None)  # type: ignore[arg-type]
    return Dispatcher(registry, router, plane, FrontendMetrics(), 4), job  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamo_fe.pipeline.dispatch.encode_request", lambda body, codec: b"")


def gone(text: str = "gone") -> RequestError:
    return RequestError.cannot_connect(text)


async def test_the_next_worker_is_tried_and_each_only_once() -> None:
    plane = Plane(gone(), gone(), "handle")
    made, job = dispatcher(plane, 1, 2, 3)
    await made.start(job)
    assert sorted(plane.asked) == [1, 2, 3] and job.delivery.attached == ["handle"]  # type: ignore[attr-defined]


async def test_the_last_workers_failure_is_told_when_none_is_left() -> None:
    made, job = dispatcher(Plane(gone("first"), gone("last")), 1, 2)
    with pytest.raises(RequestError, match="last") as failed:
        await made.start(job)
    assert failed.value.status == 503


async def test_a_worker_set_that_was_replaced_meanwhile_is_not_ready_not_a_bad_request() -> None:
    made, job = dispatcher(Plane(), 1, checksum="other")
    with pytest.raises(RequestError) as failed:
        await made.start(job)
    assert failed.value.status == 503


async def test_direct_mode_without_a_worker_id_is_a_bad_request() -> None:
    made, job = dispatcher(Plane(), 1, mode="direct")
    with pytest.raises(RequestError, match="direct") as failed:
        await made.start(job)
    assert failed.value.status == 400


@pytest.mark.parametrize("fault", [TypeError("x"), gone("second")])
async def test_a_second_try_that_fails_ends_the_request(fault: Exception) -> None:
    plane = Plane("handle", fault)
    made, job = dispatcher(plane, 1, 2)
    await made.start(job)
    assert job.delivery.on_failure is not None
    assert job.delivery.on_failure(RequestError.disconnected("lost"), True)
    assert job.task is not None
    await asyncio.wait([job.task])
    [error] = job.delivery.ends  # type: ignore[attr-defined]
    assert error is not None and error.status == (503 if isinstance(fault, RequestError) else 500)


async def test_nothing_is_tried_again_once_something_was_shown() -> None:
    made, job = dispatcher(Plane("handle"), 1, 2)
    await made.start(job)
    assert job.delivery.on_failure is not None
    assert not job.delivery.on_failure(RequestError.disconnected("lost"), False)
