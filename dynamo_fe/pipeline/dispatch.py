"""Getting a request to a worker, and to another one when the first fails before anything was shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.worker_sets import WorkerSet
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.deliver import Delivery
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.protocol.worker_request import encode_request
from dynamo_fe.routing.modes import NoInstance
from dynamo_fe.routing.router import Router

_log = logging.getLogger("dynamo_fe.pipeline")


@dataclass(slots=True)
class Job:
    """One worker request under way. `tried` are the instances that failed it, `failure` is how the last of them did;
    `task` is a new try that is starting."""

    request_id: str
    model: str
    prepared: Prepared
    delivery: Delivery
    metadata: Mapping[str, str] | None
    instance_id: int = 0
    tried: set[int] = field(default_factory=set)
    failure: RequestError | None = None
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Ends the request wherever it is."""
        if self.task is not None:
            self.task.cancel()
        self.delivery.cancel()


class Dispatcher:
    """Sends jobs to workers. `attempts` bounds the workers one request is tried on."""

    def __init__(
        self, registry: ModelRegistry, router: Router, plane: RequestPlane, metrics: FrontendMetrics, attempts: int
    ) -> None:
        self._registry = registry
        self._router = router
        self._plane = plane
        self._metrics = metrics
        self._attempts = attempts

    async def start(self, job: Job) -> None:
        """Sends the job; what follows goes to its delivery. Raises RequestError when no worker takes it."""
        job.delivery.on_failure = lambda error, nothing_shown: self._failed(job, error, nothing_shown)
        await self._send(job)

    async def _send(self, job: Job) -> None:
        while True:
            instance = self._choose(job)
            job.instance_id = instance.instance_id
            encoded = encode_request(job.prepared.body, instance.codec)
            try:
                handle = await self._plane.dispatch(instance, job.request_id, encoded, job.metadata, job.delivery)
            except RequestError as error:
                self._blame(job, error)
                self._strike(job, error)
                if not error.may_retry or len(job.tried) >= self._attempts:
                    raise
                self._metrics.retries.labels(error.reason).add()
                continue
            job.delivery.attach(handle, instance.codec)
            return

    def _choose(self, job: Job) -> Instance:
        """Raises RequestError when there is nobody to choose: the last worker's failure where one has been tried."""
        candidates = self._candidates(job)
        try:
            return self._router.select(candidates, _pinned(job), job.tried)[1]
        except NoInstance as error:
            if job.failure is not None:
                raise job.failure from error
            if not candidates:
                raise Refusal.not_ready(job.model) from error
            raise Refusal.invalid(str(error)) from error

    def _strike(self, job: Job, error: RequestError) -> None:
        job.tried.add(job.instance_id)
        job.failure = error

    def _candidates(self, job: Job) -> list[WorkerSet]:
        """The sets whose tokens are the ones prepared: same model files, hence same checksum."""
        return [entry for entry in self._registry.find(job.model) if entry.served.mdc_sum == job.prepared.model.mdc_sum]

    def _failed(self, job: Job, error: RequestError, nothing_shown: bool) -> bool:
        """Takes note of a failed stream; True when another worker is being tried: only while nothing was shown."""
        self._blame(job, error)
        if not nothing_shown or not error.may_retry:
            return False
        self._strike(job, error)
        if len(job.tried) >= self._attempts or not self._router.remains(self._candidates(job), _pinned(job), job.tried):
            return False
        self._metrics.retries.labels(error.reason).add()
        job.task = asyncio.get_running_loop().create_task(self._send_again(job))
        return True

    async def _send_again(self, job: Job) -> None:
        try:
            await self._send(job)
        except RequestError as error:
            self._give_up(job, error)
        except Exception:
            _log.exception("request %s could not be sent to another worker", job.request_id)
            self._give_up(job, RequestError("Internal", "runtime.internal", "the request could not be sent again"))

    def _give_up(self, job: Job, error: RequestError) -> None:
        job.delivery.on_failure = None
        job.delivery.on_end(error)

    def _blame(self, job: Job, error: RequestError) -> None:
        """Sets the instance aside where the failure speaks against it."""
        if error.origin == "transport" and error.error_class == "DeadlineExceeded":
            self._metrics.deadline_misses.labels(error.message).add()
        if not error.inhibits:
            if error.status >= 500:
                text = "request %s: instance %x answered with an error: %s (%s)"
                _log.warning(text, job.request_id, job.instance_id, error.message, error.reason)
            return
        if self._router.set_aside(job.instance_id):
            text = "instance %x is set aside: %s (first seen by request %s)"
            _log.warning(text, job.instance_id, error.message, job.request_id)
        if error.error_type == "CannotConnect":
            self._registry.suspect(job.instance_id)


def _pinned(job: Job) -> int | None:
    routing = job.prepared.body.routing
    pinned = routing.get("backend_instance_id", routing.get("decode_worker_id"))
    return None if pinned is None else int(pinned)
