"""One inference request over HTTP, whatever its endpoint: start the worker requests, stream or fold what they bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec import UNSET

from dynamo_fe.http import explain
from dynamo_fe.http.errors import error_event, respond_error
from dynamo_fe.http.event_stream import EventStream, StalledReader
from dynamo_fe.http.exchange import JSON_TYPE, Exchange
from dynamo_fe.http.extras import Extras
from dynamo_fe.http.services import Services
from dynamo_fe.http.shape import Chunks, Reply, usage_of
from dynamo_fe.pipeline.deliver import Delivery
from dynamo_fe.pipeline.delta import Piece, Usage
from dynamo_fe.pipeline.ends import note_end
from dynamo_fe.pipeline.job import Job
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.text_deliver import TextDelivery
from dynamo_fe.pipeline.worker_stream import WorkerStream
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.worker_request import TextRequest

_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Generation:
    """What the endpoint's module has made of the request.

    One worker request for each of `prepared`; `request_ids` and `extras` belong to them. `rich` asks for a chunk with
    the usage for each item; `before_first` are frames that go in front of the answer; `heard` is told of what comes.
    """

    model: str
    prepared: list[Prepared]
    request_ids: list[str]
    metadata: Mapping[str, str] | None
    keep_null_details: bool
    rich: bool
    include_usage: bool
    before_first: list[bytes] = field(default_factory=list)
    extras: list[Extras] | None = None
    heard: Callable[[list[Piece]], None] | None = None


class Part:
    """The endpoint's end of one worker request (a DeltaSink)."""

    __slots__ = ("_owner", "on_pieces", "usage")

    def __init__(self, owner: Run, on_pieces: Callable[[list[Piece]], None]) -> None:
        self._owner = owner
        self.on_pieces = on_pieces
        self.usage: Usage | None = None

    def on_deltas(self, pieces: list[Piece]) -> None:
        """Everything one wake-up brought."""
        first = self._owner.note_first()
        self.on_pieces(pieces)
        if first and self._owner.showing:
            # the head went out before anything had come
            self._owner.note_shown()

    def on_finish(self, usage: Usage, error: RequestError | None) -> None:
        """The end of the worker request."""
        self.usage = usage
        self._owner.part_ended(usage, error)


class Run:
    """The worker requests of one HTTP request, started together; the first failure ends all."""

    def __init__(self, services: Services, generation: Generation, meter: Meter) -> None:
        self._services = services
        self._generation = generation
        self._meter = meter
        self.begun = False
        self.explain: explain.Wanted = "no"
        self._left = len(generation.prepared)
        self.parts: list[Part] = []
        self.jobs: list[Job] = []
        self.error: RequestError | None = None
        self.over = False
        self.showing = False
        # when the first worker was sent its request, without the time that KV routing took
        self.sent_at = 0.0
        self.on_over: Callable[[], None] | None = None
        # resolved by the first piece of an answer or by its end, whichever comes first
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, prepared: Prepared, request_id: str, on_pieces: Callable[[list[Piece]], None]) -> None:
        """Adds a worker request whose pieces go to `on_pieces`."""
        heard = self._generation.heard
        part = Part(self, on_pieces if heard is None else _both(heard, on_pieces))
        delivery: WorkerStream
        if isinstance(prepared.body, TextRequest):
            delivery = TextDelivery("messages" in prepared.body.fields, part)
        else:
            detailed = self._generation.extras is not None
            delivery = Delivery(prepared, part, self._meter.of_model, self._generation.rich, detailed)
        self.parts.append(part)
        job = Job(request_id, self._generation.model, prepared, delivery, self._generation.metadata)
        job.explain = self.explain != "no"
        job.received_at = self._meter.started
        job.on_first_token = self._note_first_token
        if self._generation.extras is not None:
            self._generation.extras[len(self.jobs)].job = job
        self.jobs.append(job)

    async def start(self) -> None:
        """Sends all of them. A failure to send is the failure of the request, told like any other."""
        for job in self.jobs:
            if self.over:
                return
            try:
                await self._services.dispatcher.start(job)
            except RequestError as error:
                self._end(error)
            self.sent_at = self.sent_at or job.sent_at

    def note_first(self) -> bool:
        """An item has come; whether it is the first."""
        if self.begun:
            return False
        self.begun = True
        first = self.jobs[0].prepared
        body = first.body
        if isinstance(body, TextRequest):
            self._meter.first_item(0, 0.0, None)
            # nobody counts what comes from it
            self._note_first_token()
        else:
            media = {} if body.multi_modal_data is UNSET else body.multi_modal_data
            self._meter.first_item(self._prompt_tokens(), first.tokenize_secs, media, first.picture_tokens)
        self.stop_waiting()
        return True

    def _note_first_token(self) -> None:
        self._meter.first_token(self._prompt_tokens())

    def _prompt_tokens(self) -> int:
        return sum(job.prepared.prompt_tokens for job in self.jobs)

    def stop_waiting(self) -> None:
        """Resolves `first`."""
        if not self.first.done():
            self.first.set_result(None)

    def note_shown(self) -> None:
        """What there is of the answer has gone out."""
        self.showing = True
        if self.sent_at:
            self._meter.shown(self.sent_at - self._meter.started)

    def part_ended(self, usage: Usage, error: RequestError | None) -> None:
        """One worker request has ended."""
        self._meter.answered(usage)
        self._left -= 1
        if error is not None or not self._left:
            self._end(error)

    def cancel(self) -> None:
        """Ends the worker requests that have not ended."""
        self.over = True
        for job in self.jobs:
            if not job.delivery.ended:
                job.cancel()
                self._meter.answered(job.delivery.usage())

    def let_go(self) -> None:
        """Ends it for good, and takes apart what holds each other: a cycle would wait for the garbage collector, and
        the prompt with it.
        """
        self.cancel()
        self.on_over = None
        self.jobs.clear()
        self.parts.clear()
        for extras in self._generation.extras or ():
            extras.job = None

    def pause(self) -> None:
        """Stops reading the workers: the client does not read us."""
        for job in self.jobs:
            job.delivery.pause()

    def resume(self) -> None:
        """Reads them on."""
        for job in self.jobs:
            job.delivery.resume()

    def usage(self) -> dict[str, Any] | None:
        """The sum over all worker requests; None when none of them came to a finish reason."""
        usages = [part.usage for part in self.parts if part.usage is not None]
        if not any(usage.finished for usage in usages):
            return None
        keep = self._generation.keep_null_details
        total = usage_of(usages[0], keep)
        for usage in usages[1:]:
            for key, value in usage_of(usage, keep).items():
                total[key] = total[key] + value if isinstance(value, int) and key in total else total.get(key, value)
        return total

    def end(self, error: RequestError) -> None:
        """Ends it from outside, with an error that its client is told like any other."""
        if not self.over and error.deadline_stage is not None:
            self._services.metrics.deadline_misses.labels(error.deadline_stage).add()
        self._end(error)

    def _end(self, error: RequestError | None) -> None:
        if self.over:
            return
        self.error = None if error is None else error.kept()
        note_end(self._generation.request_ids[0], error)
        self.cancel()
        self.stop_waiting()
        if self.on_over is not None:
            self.on_over()


async def stream(exchange: Exchange, services: Services, generation: Generation, meter: Meter, reply: Reply) -> None:
    """Answers with an event stream.

    A failure before the first item gets its own HTTP status where it comes within `pre_commit_peek_ms`.
    """
    run = Run(services, generation, meter)
    run.explain = explain.wanted(exchange)
    events = EventStream(exchange, run.pause, run.resume, services.keep_alives)
    if exchange.lifetime is not None:
        exchange.lifetime.end, exchange.lifetime.buffered_bytes = run.end, events.held_bytes
    for frames in generation.before_first:
        events.feed(frames)
    shapes = [reply.chunks(index, prepared) for index, prepared in enumerate(generation.prepared)]
    for index, prepared in enumerate(generation.prepared):
        run.add(prepared, generation.request_ids[index], _feeder(events, shapes[index]))
    if run.explain == "only":
        await explain.answer(exchange, services, run.jobs, meter)
        return
    services.peeks.add(run.first)
    try:
        await run.start()
        await run.first
        if run.error is not None and not run.begun:
            meter.failed(run.error)
            await respond_error(exchange, run.error, first_event=True)
            return
        explain.add_header(exchange, run.jobs)
        run.on_over = lambda: events.close(_last_frames(run, generation, reply))
        if run.over:
            run.on_over()
        await events.run(run.note_shown)
    except StalledReader:
        services.connections.closed["stalled_stream"] += 1
        meter.client_left()
        return
    finally:
        services.peeks.discard(run.first)
        run.let_go()
    if run.error is not None:
        meter.failed(run.error)
    else:
        meter.succeeded()


async def fold(exchange: Exchange, services: Services, generation: Generation, meter: Meter, reply: Reply) -> None:
    """Answers with one body once all worker requests have ended."""
    run = Run(services, generation, meter)
    run.explain = explain.wanted(exchange)
    collected = [reply.answer(index, prepared) for index, prepared in enumerate(generation.prepared)]
    for index, prepared in enumerate(generation.prepared):
        run.add(prepared, generation.request_ids[index], collected[index].add)
    if run.explain == "only":
        await explain.answer(exchange, services, run.jobs, meter)
        return
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    run.on_over = lambda: None if done.done() else done.set_result(None)
    if exchange.lifetime is not None:
        exchange.lifetime.end = run.end
    try:
        await run.start()
        await done
        if run.error is None:
            explain.add_header(exchange, run.jobs)
        usage = run.usage()
    finally:
        run.let_go()
    meter.collected()
    if run.error is not None:
        meter.failed(run.error, first_event=True)
        await respond_error(exchange, run.error, first_event=True)
        return
    choices = [choice for answer in collected for choice in answer.choices()]
    await exchange.respond(200, [JSON_TYPE], orjson.dumps(reply.body(choices, usage)))
    run.note_shown()
    meter.succeeded()


def _both(
    first: Callable[[list[Piece]], None], second: Callable[[list[Piece]], None]
) -> Callable[[list[Piece]], None]:
    def on_pieces(pieces: list[Piece]) -> None:
        first(pieces)
        second(pieces)

    return on_pieces


def _feeder(events: EventStream, shape: Chunks) -> Callable[[list[Piece]], None]:
    frames, feed = shape.frames, events.feed

    def on_pieces(pieces: list[Piece]) -> None:
        data = frames(pieces)
        if data:
            feed(data)

    return on_pieces


def _last_frames(run: Run, generation: Generation, reply: Reply) -> bytes:
    if run.error is not None:
        return error_event(run.error) + _DONE
    usage = run.usage() if generation.include_usage else None
    return _DONE if usage is None else reply.closing().usage_frame(usage) + _DONE
