"""Getting a request to a worker: which failure a client sees, and what another try may do."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.dispatch import Dispatcher
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.migration import MigrationRules
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.rank_pin import RankHeader
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.router_counts import RouterCounts
from dynamo_fe.pipeline.worker_load import LoadLimits, WorkerLoads
from dynamo_fe.protocol.card import ModelCard, RuntimeConfig
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, StopConditions, WorkerRequest
from dynamo_fe.routing.modes import mode_of
from dynamo_fe.routing.quarantine import Quarantine
from dynamo_fe.routing.router import Router

MODES = ("round-robin", "random", "power-of-two", "direct", "least-loaded", "device-aware-weighted")


class Plane:
    """A request plane that answers each dispatch with the next of `outcomes`: an exception to raise, or the name of a
    handle.
    """

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[int] = []
        self.bodies: list[dict[str, Any]] = []

    async def dispatch(self, instance: Any, request_id: str, body: bytes, *_: Any) -> Any:
        self.asked.append(instance.instance_id)
        self.bodies.append(json.loads(body))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return SimpleNamespace(name=outcome, queued_until=0.0)


class Delivery:
    def __init__(self) -> None:
        self.ends: list[RequestError | None] = []
        self.attached: list[Any] = []
        self.on_failure: Any = None
        self.received: list[int] | None = None
        self.answered = False
        self.completion_tokens = 0
        self.moved = self.completed = 0

    def remember(self, most: int) -> None:
        self.received = []

    def move(self) -> None:
        self.moved += 1

    def complete(self) -> None:
        self.completed += 1

    def attach(self, handle: Any, codec: str) -> None:
        self.attached.append(handle.name)

    def on_end(self, error: RequestError | None) -> None:
        self.ends.append(error)


def dispatcher(
    plane: Plane, *numbers: int, checksum: str = "sum", mode: str = "round-robin", moves: int = 0
) -> tuple[Dispatcher, Job]:
    instances = {
        number: SimpleNamespace(instance_id=number, codec="json", namespace="n", component="c") for number in numbers
    }
    card = ModelCard(display_name="m", runtime_config=RuntimeConfig(data_parallel_start_rank=4, data_parallel_size=2))
    served = SimpleNamespace(mdc_sum=checksum, card=card)
    cards = dict.fromkeys(instances, card)
    entry = SimpleNamespace(key="set", instances=instances, cards=cards, served=served)
    registry: Any = SimpleNamespace(find=lambda name: [entry], suspect=lambda number: None)
    router = Router(mode_of(mode, lambda number: 0, 8.0), Quarantine(5))
    body = WorkerRequest(
        model="m",
        token_ids=[1, 2],
        stop_conditions=StopConditions(max_tokens=3),
        sampling_options=SamplingOptions(),
        output_options=OutputOptions(),
        eos_token_ids=[],
        mdc_sum="sum",
        annotations=[],
        routing={},
    )
    model: Any = SimpleNamespace(mdc_sum="sum")
    prepared = Prepared(model, body, prompt_tokens=2, choices=1, formatted_prompt=None)
    job = Job("id", "m", prepared, Delivery(), None)  # type: ignore[arg-type]
    loads = WorkerLoads(LoadLimits(0, 8, 0))
    rules = MigrationRules(moves, None)
    metrics = FrontendMetrics()
    counts = RouterCounts(metrics.workers, 1)
    return Dispatcher(registry, router, plane, metrics, 4, rules, loads, counts), job  # type: ignore[arg-type]


def gone(text: str = "gone") -> RequestError:
    return RequestError.cannot_connect(text)


@pytest.mark.parametrize(
    ("mode", "routing", "reason"),
    [
        ("round-robin", {}, "the next in turn"),
        ("random", {}, "drawn at random"),
        ("power-of-two", {}, "the less loaded of two that were drawn at random"),
        ("least-loaded", {}, "fewest requests"),
        ("direct", {"backend_instance_id": 2}, "named by the request"),
    ],
)
async def test_modes_that_look_at_no_prompt_say_what_they_went_by(
    mode: str, routing: dict[str, int], reason: str
) -> None:
    plane = Plane("handle", "handle")
    made, job = dispatcher(plane, 1, 2, mode=mode)
    job.prepared.body.routing = routing
    await made.start(job)
    assert job.explanation is None
    job.explain = True
    await made.start(job)
    assert job.explanation is not None
    before = plane.asked[0]
    assert (job.explanation["worker_id"], job.explanation["reason"]) == (plane.asked[1], reason)
    found = {each["worker_id"]: each["active_requests"] for each in job.explanation["candidates"]}
    assert found == {before: 1, 3 - before: 0}
    assert job.explanation["candidates"][0]["worker_id"] == plane.asked[1]


async def test_there_is_no_choice_where_there_is_one_worker() -> None:
    made, job = dispatcher(Plane("handle"), 7)
    job.explain = True
    await made.start(job)
    assert job.explanation == {
        "worker_id": 7,
        "reason": "the only worker",
        "candidates": [{"worker_id": 7, "active_requests": 0}],
        "candidates_left_out": 0,
    }


async def test_the_next_worker_is_tried_and_each_only_once() -> None:
    plane = Plane(gone(), gone(), "handle")
    made, job = dispatcher(plane, 1, 2, 3)
    await made.start(job)
    assert sorted(plane.asked) == [1, 2, 3] and job.delivery.attached == ["handle"]  # type: ignore[attr-defined]


async def test_workers_that_cannot_be_reached_cost_no_try_but_those_that_hang_do() -> None:
    plane = Plane(*(gone() for _ in range(12)), "handle")
    made, job = dispatcher(plane, *range(13))
    await made.start(job)
    assert len(plane.asked) == 13 and job.delivery.attached == ["handle"]  # type: ignore[attr-defined]
    plane = Plane(*(RequestError.cannot_connect("silence", timed_out=True) for _ in range(12)), "handle")
    made, job = dispatcher(plane, *range(13))
    with pytest.raises(RequestError):
        await made.start(job)
    assert len(plane.asked) == 4


async def test_one_that_cannot_be_reached_is_not_asked_for_ever_once_something_was_shown() -> None:
    plane = Plane("handle", *(gone() for _ in range(100)))
    made, job = dispatcher(plane, 1, 2, moves=3)
    await made.start(job)
    assert job.delivery.on_failure(RequestError.disconnected("gone"), False)
    assert job.task is not None
    await job.task
    assert len(job.delivery.ends) == 1 and len(plane.asked) <= 10  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("mode", MODES)
async def test_a_rank_that_is_named_is_the_workers_in_every_mode(mode: str) -> None:
    plane = Plane("handle", "handle")
    made, job = dispatcher(plane, 1, 2, mode=mode)
    job.prepared.body.routing = {"decode_worker_id": 2, "dp_rank": 5}
    await made.start(job)
    assert (plane.asked, job.dp_rank) == ([2], 5)
    job.prepared.body.routing = {"decode_worker_id": 2, "dp_rank": 6}
    with pytest.raises(RequestError, match="dp_rank 6 is not one of worker 2: it has 4 to 5") as failed:
        await made.start(job)
    assert failed.value.status == 400
    job.prepared.rank_header = RankHeader("x-dp-rank", "6", 6)
    with pytest.raises(RequestError, match="x-dp-rank '6' is not one of worker 2: it has 4 to 5"):
        await made.start(job)
    job.prepared.body.routing = {"dp_rank": 4}
    with pytest.raises(Refusal, match="Invalid request") as refused:
        await made.start(job)
    assert refused.value.detail == "x-dp-rank '6' names a rank without its worker"
    assert plane.asked == [2]


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


async def test_nothing_is_tried_again_once_something_was_shown_without_migration() -> None:
    made, job = dispatcher(Plane("handle"), 1, 2)
    await made.start(job)
    assert job.delivery.on_failure is not None
    assert not job.delivery.on_failure(RequestError.disconnected("lost"), False)


async def broken_off(made: Dispatcher, job: Job, received: list[int], error: RequestError | None = None) -> bool:
    """The stream under way fails after these tokens; whether somebody else takes over, who has been asked then."""
    job.delivery.received = received  # type: ignore[assignment]
    assert job.delivery.on_failure is not None
    taken = bool(job.delivery.on_failure(error or RequestError.disconnected("lost"), not received))
    if job.task is not None:
        await asyncio.wait([job.task])
    return taken


async def test_the_rest_is_asked_of_another_worker_as_often_as_allowed() -> None:
    plane = Plane("first", "second", "third")
    made, job = dispatcher(plane, 1, 2, 3, moves=2)
    await made.start(job)
    assert await broken_off(made, job, [7])
    assert await broken_off(made, job, [7, 8])
    assert not await broken_off(made, job, [7, 8])
    assert len(set(plane.asked)) == 3 and job.delivery.attached == ["first", "second", "third"]  # type: ignore[attr-defined]
    assert [body["token_ids"] for body in plane.bodies] == [[1, 2], [1, 2, 7], [1, 2, 7, 8]]
    assert [body["stop_conditions"]["max_tokens"] for body in plane.bodies] == [3, 2, 1]


async def test_a_worker_that_broke_off_is_asked_again_when_it_is_alone_but_not_a_silent_one() -> None:
    made, job = dispatcher(Plane("first", "again"), 1, moves=3)
    await made.start(job)
    assert await broken_off(made, job, [7])
    assert not await broken_off(made, job, [7, 8], RequestError.deadline("item", 1))


async def test_what_is_no_fault_of_the_worker_moves_nowhere() -> None:
    made, job = dispatcher(Plane("first"), 1, 2, moves=3)
    await made.start(job)
    assert not await broken_off(made, job, [7], RequestError("Internal", "backend.unknown", "bug", origin="worker"))


async def test_an_answer_that_has_all_its_tokens_needs_nobody_else() -> None:
    plane = Plane("first", "second")
    made, job = dispatcher(plane, 1, 2, moves=3)
    await made.start(job)
    # As the original does, a worker is asked for none; that it refuses is no failure.
    assert await broken_off(made, job, [7, 8, 9])
    assert plane.bodies[1]["stop_conditions"]["max_tokens"] == 0
    refusal = RequestError("InvalidRequest", "backend.invalid_argument", "max_tokens must be at least 1")
    assert await broken_off(made, job, [7, 8, 9], refusal)
    assert job.delivery.completed == 1  # type: ignore[attr-defined]


async def test_an_answer_that_was_finished_needs_nobody_else() -> None:
    plane = Plane("first")
    made, job = dispatcher(plane, 1, 2, moves=3)
    await made.start(job)
    job.delivery.answered = True  # type: ignore[misc]
    assert await broken_off(made, job, [7])
    assert job.delivery.completed == 1 and len(plane.asked) == 1  # type: ignore[attr-defined]
