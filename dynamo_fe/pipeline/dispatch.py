"""Getting a request to a worker, and to another one when the first fails: from the beginning while nothing was shown,
else with what came so far as a part of the prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.worker_sets import WorkerSet
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.logs import trace_of
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.kv_placing import asks_place, explained, has_blocks, intent_of, named, placed, routed
from dynamo_fe.pipeline.migration import MigrationRules, continued
from dynamo_fe.pipeline.rank_pin import check_rank, pinned
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.router_counts import RouterCounts, Visit
from dynamo_fe.pipeline.worker_load import WorkerLoads
from dynamo_fe.planes.request.base import RequestPlane
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.instance import Instance
from dynamo_fe.protocol.worker_request import WorkerRequest, encode_request
from dynamo_fe.routing.explanation import explain
from dynamo_fe.routing.kv.placement import Placement
from dynamo_fe.routing.kv.router import KvRouter
from dynamo_fe.routing.modes import NoInstance
from dynamo_fe.routing.router import Router

_log = logging.getLogger("dynamo_fe.pipeline")

T = TypeVar("T")

# migration_type of the original's metrics
_NEW, _ONGOING = "new_request", "ongoing_request"


class Dispatcher:
    """Sends jobs to workers. `attempts` bounds the workers one request is tried on while nothing of it was shown;
    `rules` say when it may move later. `kv` chooses for requests that are tokens; None: the mode of the router does.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        router: Router,
        plane: RequestPlane,
        metrics: FrontendMetrics,
        attempts: int,
        rules: MigrationRules,
        loads: WorkerLoads,
        counts: RouterCounts,
        kv: KvRouter | None = None,
    ) -> None:
        self._registry = registry
        self._router = router
        self._plane = plane
        self._metrics = metrics
        self._route_seconds = metrics.workers.stage.labels("route")
        self._transport_seconds = metrics.workers.stage.labels("transport_roundtrip")
        self._queue_seconds = metrics.workers.queue.labels()
        self._send_seconds = metrics.workers.send.labels()
        self._roundtrip_seconds = metrics.workers.roundtrip.labels()
        self._attempts = attempts
        self._rules = rules
        self._loads = loads
        self._counts = counts
        self.kv = kv
        # jobs that wait for KV routing
        self.placing = 0
        self.refused_total = 0

    def check_room(self, model: str) -> None:
        """Raises Refusal when every worker of the model has all that it can do; costs next to nothing before that."""
        full = self._loads.full(time.monotonic())
        if not full:
            return
        out = self._router.left_out()
        instances = [number for entry in self._registry.find(model) for number in entry.instances]
        if instances and all(number in full or number in out for number in instances):
            self.refused_total += 1
            raise Refusal.at_capacity()

    def cut_off(self) -> list[str]:
        """Why no request can get to any worker now; empty otherwise."""
        return self._plane.reasons()

    def explained(self, job: Job) -> dict[str, Any]:
        """Where the job would go now, and why; it is neither sent nor booked. Raises Refusal."""
        body = job.prepared.body
        if self.kv is None or not has_blocks(body):
            raise Refusal.invalid("Only KV routing of token prompts can tell its choice beforehand (--router-mode kv)")
        entry = self._choose(job, None, self._router.select_set)
        intent = intent_of(body, job.request_id, job.metadata, lambda: self._banned(job, entry), explain=True)
        return explained(self.kv, entry, intent)

    async def start(self, job: Job) -> None:
        """Sends the job; what follows goes to its delivery. Raises RequestError when no worker takes it."""
        delivery = job.delivery
        delivery.request_id = job.request_id
        delivery.on_failure = lambda error, nothing_shown: self._failed(job, error, nothing_shown)
        delivery.on_over = job.leave
        delivery.on_first_token = job.first_token
        most = self._rules.received_limit(job.prepared)
        if most >= 0:
            delivery.on_outgrown = lambda: self._metrics.migration_outgrown.labels(job.model).add()
            delivery.remember(most)
        if self.kv is not None and asks_place(job.prepared.body):
            self._name_place(self.kv, job)
            return
        try:
            await self._send(job, None)
        except RequestError:
            if job.failed_at:
                self._note_duration(job, "failure")
            raise

    def _name_place(self, kv: KvRouter, job: Job) -> None:
        """Ends the job with nothing but the name of the rank that it would go to. Raises Refusal."""
        entry = self._choose(job, None, self._router.select_set)
        intent = intent_of(job.prepared.body, job.request_id, job.metadata, lambda: self._banned(job, entry), False)
        job.instance_id, job.dp_rank = named(kv, entry, intent)
        job.only_named = True
        job.delivery.show_nothing()

    async def _send(self, job: Job, failure: RequestError | None) -> None:
        """Raises RequestError; `failure` is why the try before this one ended, and what is raised if nobody is left."""
        delivery = job.delivery
        received = delivery.received or ()
        body = continued(job.prepared.body, received)
        job.used_up = bool(received) and body.stop_conditions.max_tokens == 0
        while True:
            begun = time.perf_counter()
            sent = body
            if self.kv is None or not has_blocks(body):
                chosen, instance = self._chosen(job, failure)
            else:
                chosen = self._choose(job, failure, self._router.select_set)
                placement = await self._placed(self.kv, job, body, chosen)
                job.placing_secs += time.perf_counter() - begun
                instance, sent = chosen.instances[placement.worker_id], routed(body, placement.dp_rank)
                if delivery.ended:
                    # it waited in the line for longer than its client
                    job.leave()
                    return
            chosen_at = time.perf_counter()
            self._route_seconds.observe(chosen_at - begun)
            job.instance_id = instance.instance_id
            job.tries += 1
            job.place = self._loads.sent(job.instance_id, _capacity(chosen), time.monotonic())
            job.visit = self._visit(job, instance, len(received))
            encoded = encode_request(sent, instance.codec)
            delivery.on_first = lambda: self._began(job)
            job.asked_at = time.perf_counter()
            if not job.sent_at:
                job.sent_at = job.asked_at - job.placing_secs
            try:
                handle = await self._plane.dispatch(instance, job.request_id, encoded, job.metadata, delivery)
            except RequestError as error:
                job.leave()
                self._blame(job, error)
                job.note_failure(error)
                if not error.may_retry or not self._tries_left(job):
                    raise
                self._count_retry(job, error)
                failure = error
                continue
            except BaseException:
                job.leave()
                raise
            self._queue_seconds.observe(handle.queued_until - chosen_at)
            self._send_seconds.observe(time.perf_counter() - handle.queued_until)
            delivery.attach(handle, instance.codec)
            if job.failed_at:
                self._note_duration(job, "success")
            return

    def _visit(self, job: Job, instance: Instance, received: int) -> Visit:
        """`received` are the tokens that came from other workers."""
        prompt_tokens = job.prepared.prompt_tokens + received
        before = job.delivery.completion_tokens if received else 0
        told = (instance, job.dp_rank, job.model, prompt_tokens, job.received_at, before)
        return self._counts.visit(*told, chosen=job.placement is not None)

    def _began(self, job: Job) -> None:
        self._note_roundtrip(job)
        self._router.worked(job.instance_id)
        job.began()

    def _note_roundtrip(self, job: Job) -> None:
        took_secs = time.perf_counter() - job.asked_at
        self._transport_seconds.observe(took_secs)
        self._roundtrip_seconds.observe(took_secs)

    async def _placed(self, kv: KvRouter, job: Job, body: WorkerRequest, entry: WorkerSet) -> Placement:
        """The rank that KV routing chooses among the workers of a set. Raises Refusal."""
        intent = intent_of(body, job.request_id, job.metadata, lambda: self._banned(job, entry), job.explain)
        self.placing += 1
        try:
            while True:
                placement = await placed(kv, entry, intent)
                # it may have waited for its turn, and the worker may have gone since
                if placement.worker_id in entry.instances:
                    break
                placement.over()
        finally:
            self.placing -= 1
        job.placement, job.dp_rank = placement, placement.dp_rank
        job.explanation = placement.choice.explanation
        if placement.tracks_output:
            job.delivery.on_tokens = placement.tokens
        if placement.outputs is not None:
            job.delivery.on_output = placement.outputs.take
        return placement

    def _banned(self, job: Job, entry: WorkerSet) -> Collection[int]:
        """The workers of a set that should not get the job now: fewer where nobody else would be left."""
        full = self._loads.full(time.monotonic())
        if not full and not job.tried and self._router.all_well:
            return ()
        for banned in (*self._router.banned(job.tried.union(full)), job.tried):
            if any(number not in banned for number in entry.instances):
                return banned
        return job.silent

    def _chosen(self, job: Job, failure: RequestError | None) -> tuple[WorkerSet, Instance]:
        """The worker that the mode of the router chooses. Raises as `_choose`."""
        chosen, instance = self._choose(job, failure, self._router.select)
        job.dp_rank = job.prepared.body.routing.get("dp_rank")
        if job.explain:
            reason = self._router.reason(pinned(job.prepared.body.routing))
            job.explanation = explain(instance.instance_id, reason, chosen.instances, self._loads.of)
        return chosen, instance

    def _choose(
        self,
        job: Job,
        failure: RequestError | None,
        select: Callable[[Sequence[WorkerSet], int | None, Collection[int]], T],
    ) -> T:
        """What `select` says of the next try. Raises `failure`, or a Refusal when there was none."""
        sets, routing = self._candidates(job), job.prepared.body.routing
        if routing:
            check_rank(sets, routing, job.prepared.rank_header, self.kv is not None and has_blocks(job.prepared.body))
        wanted = pinned(routing)
        full = self._full(job, sets) if wanted is None else set()
        try:
            return select(sets, wanted, full | job.tried if full else job.tried)
        except NoInstance as error:
            if job.moves and self._router.remains(sets, wanted, job.silent):
                return select(sets, wanted, job.silent)
            if failure is not None:
                raise failure from error
            if not sets:
                raise Refusal.not_ready(job.model) from error
            raise Refusal.invalid_argument(str(error), detail=error.detail) from error

    def _full(self, job: Job, sets: list[WorkerSet]) -> set[int]:
        """The full workers, if anyone else that is well and has not failed the job is left."""
        full = self._loads.full(time.monotonic())
        if not full:
            return set()
        banned = self._router.left_out().union(full, job.tried)
        return set(full) if any(number not in banned for entry in sets for number in entry.instances) else set()

    def _candidates(self, job: Job) -> list[WorkerSet]:
        """The sets whose tokens are the ones prepared: same model files, hence same checksum."""
        return [entry for entry in self._registry.find(job.model) if entry.served.mdc_sum == job.prepared.model.mdc_sum]

    def _failed(self, job: Job, error: RequestError, nothing_shown: bool) -> bool:
        """Takes note of a failed stream; True when the answer goes on elsewhere or is complete as it is."""
        if error.first_event and error.origin == "worker":
            self._note_roundtrip(job)
        job.leave()
        self._blame(job, error)
        if job.used_up or (error.may_retry and job.delivery.received is not None and job.delivery.answered):
            # Nothing is missing but the worker's word for it; some refuse a request for no tokens.
            job.delivery.complete()
            return True
        if not error.may_retry:
            return False
        job.note_failure(error)
        job.ongoing = not nothing_shown or error.first_event
        if not self._may_go_on(job, nothing_shown):
            self._metrics.migrations.labels(job.model, _kind(job)).add()
            self._note_duration(job, "failure")
            return False
        if not nothing_shown:
            job.moves += 1
            job.delivery.move()
        self._count_retry(job, error)
        job.task = asyncio.get_running_loop().create_task(self._send_again(job, error))
        return True

    def _may_go_on(self, job: Job, nothing_shown: bool) -> bool:
        if nothing_shown:
            banned = job.tried
            allowed = self._tries_left(job)
        else:
            banned = job.silent
            allowed = job.delivery.received is not None and job.moves < self._rules.limit
        return allowed and self._router.remains(self._candidates(job), pinned(job.prepared.body.routing), banned)

    def _tries_left(self, job: Job) -> bool:
        return job.tries < self._attempts + (self._rules.limit if job.moves else 0)

    async def _send_again(self, job: Job, failure: RequestError) -> None:
        try:
            await self._send(job, failure)
        except RequestError as error:
            self._give_up(job, error)
        except Exception as error:
            # Nobody awaits this task: what it does not tell the delivery would leave the request without an end.
            _log.error("request %s: the next try failed: %s", job.request_id, trace_of(error))
            self._give_up(job, RequestError("Internal", "runtime.internal", str(error)))

    def _give_up(self, job: Job, error: RequestError) -> None:
        self._note_duration(job, "failure")
        job.delivery.on_failure = None
        if job.used_up:
            job.delivery.complete()
        else:
            job.delivery.on_end(error)

    def _count_retry(self, job: Job, error: RequestError) -> None:
        self._metrics.retries.labels(error.reason).add()
        self._metrics.migrations.labels(job.model, _kind(job)).add()

    def _note_duration(self, job: Job, outcome: str) -> None:
        self._metrics.migration_seconds.labels(job.model, _kind(job), outcome).observe(time.monotonic() - job.failed_at)

    def _blame(self, job: Job, error: RequestError) -> None:
        """Sets the instance aside where the failure speaks against it."""
        if error.deadline_stage is not None:
            self._metrics.deadline_misses.labels(error.deadline_stage).add()
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


def _kind(job: Job) -> str:
    return _ONGOING if job.ongoing or job.moves else _NEW


def _capacity(chosen: WorkerSet) -> int | None:
    """Requests that a worker of the set runs at once, where its card says so."""
    config = chosen.served.card.runtime_config
    return None if config.max_num_seqs is None else config.max_num_seqs * max(config.data_parallel_size, 1)
