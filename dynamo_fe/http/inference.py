"""What chat and completions requests have in common before their own part begins."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from dynamo_fe.http.errors import error_body, respond_error, respond_refusal
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.intake import LARGE_BODY_BYTES, BodyRefused
from dynamo_fe.http.parse import is_json, parse_request
from dynamo_fe.http.request_headers import apply_headers, metadata_of
from dynamo_fe.http.services import Services
from dynamo_fe.models.served import ServedModel
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.pipeline.ends import note_end
from dynamo_fe.pipeline.meter import UNKNOWN_MODEL, Meter
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

R = TypeVar("R", ChatRequest, CompletionRequest)

# what bodies that are not taken are counted as, by the status they get
_CLASSES_OF_REFUSED: Final = {
    400: ("InvalidRequest", "request.invalid"),
    408: ("DeadlineExceeded", "request.deadline_exceeded"),
    413: ("PayloadTooLarge", "request.payload_too_large"),
    415: ("UnsupportedMedia", "request.unsupported_media"),
    503: ("Unavailable", "backend.unavailable"),
}


async def serve(
    exchange: Exchange,
    services: Services,
    kind: type[R],
    endpoint: str,
    check: Callable[[R], None],
    answer: Callable[[R, ServedModel, Meter], Awaitable[None]],
) -> None:
    """Content type, size, JSON, readiness, fields, model; then `answer`. Whatever fails becomes the answer.

    When the client goes, the task is cancelled wherever it is; the worker requests end on the way out.
    """
    request = await _taken_in(exchange, services, kind)
    if request is None:
        return
    known = services.registry.known(request.model)
    meter = Meter(services.metrics, request.model if known else UNKNOWN_MODEL, endpoint, bool(request.stream))
    task = asyncio.current_task()
    assert task is not None
    left = False
    cut: RequestError | None = None

    def gone() -> None:
        nonlocal left
        left = True
        task.cancel()

    def end(error: RequestError) -> None:
        nonlocal cut
        if cut is None:
            cut = error
            task.cancel()

    exchange.on_disconnect(gone)
    try:
        exchange.lifetime = services.lifetimes.enter(end)
        await _answered(exchange, services, request, meter, check, answer)
    except Refusal as error:
        # not let in; whatever happens to a request that was is answered already
        meter.failed(error)
        await respond_error(exchange, error)
    except asyncio.CancelledError:
        if cut is not None and not left:
            task.uncancel()
            await _cut_off(exchange, services, meter, cut)
            return
        meter.client_left()
        if not left:
            raise
    finally:
        exchange.forget_disconnect()
        if exchange.lifetime is not None:
            services.lifetimes.leave(exchange.lifetime)
            exchange.lifetime = None


async def _answered(
    exchange: Exchange,
    services: Services,
    request: R,
    meter: Meter,
    check: Callable[[R], None],
    answer: Callable[[R, ServedModel, Meter], Awaitable[None]],
) -> None:
    """Answers, with an error where it comes to that; never without counting the end."""
    try:
        if services.draining:
            raise Refusal("Unavailable", "backend.unavailable", "Service is not ready")
        if services.registry.known(request.model) and not services.registry.find(request.model):
            await services.registry.loaded(request.model)
        if services.registry.known(request.model) and not services.registry.find(request.model):
            raise Refusal.not_ready(request.model)
        apply_headers(exchange, request, services.settings.disable_frontend_nvext)
        _check_fields(request, meter, check)
        services.dispatcher.check_room(request.model)
        await answer(request, _model_for(services, request), meter)
    except RequestError as error:
        meter.failed(error)
        await respond_error(exchange, error)
    except Exception as error:
        meter.failed(RequestError("Internal", "runtime.internal", str(error)))
        raise


def _check_fields(request: R, meter: Meter, check: Callable[[R], None]) -> None:
    """Raises Refusal like `check`. The original counts a completions request only once its fields are in order, a chat
    request as soon as it is one.
    """
    try:
        check(request)
    except Refusal:
        if isinstance(request, CompletionRequest):
            meter.withdraw()
        raise


async def _cut_off(exchange: Exchange, services: Services, meter: Meter, error: RequestError) -> None:
    """Answers a request that was ended from outside before anyone who could tell its client had taken it over."""
    if error.deadline_stage is not None:
        services.metrics.deadline_misses.labels(error.deadline_stage).add()
    note_end(exchange.request_id, error)
    meter.failed(error)
    if not exchange.started:
        await respond_error(exchange, error)


def model_of(services: Services, name: str) -> ServedModel:
    """The model behind a name. Raises Refusal when there is none."""
    sets = services.registry.find(name)
    if not sets:
        known = services.registry.known(name) or not services.registry.listed
        raise Refusal.not_ready(name) if known else Refusal.unknown_model()
    return sets[0].served


def _model_for(services: Services, request: ChatRequest | CompletionRequest) -> ServedModel:
    """The model a request is prepared for: where namespaces serve different ones under a name, one of them at random
    by the number of their workers, or that of the worker the request names. Raises Refusal when there is none.
    """
    pinned = None if request.nvext is None else request.nvext.decode_worker_id or request.nvext.backend_instance_id
    kind = "Chat" if isinstance(request, ChatRequest) else "Completions"
    model = services.registry.choose(request.model, kind, pinned)
    if model is not None:
        return model
    model_of(services, request.model)
    raise Refusal.unknown_model()


def part_ids(request_id: str, count: int) -> list[str]:
    """The ids of the worker requests of a batch of prompts."""
    return [request_id] if count == 1 else [f"{request_id}-{index}" for index in range(count)]


def request_id_of(exchange: Exchange, ids: RandomIds) -> str:
    """The caller's `x-dynamo-request-id` where it is a UUID, kept as it is spelled; else a fresh one."""
    given = exchange.header(b"x-dynamo-request-id")
    if given is not None:
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            text = given.decode("ascii")
            uuid.UUID(text)
            return text
    return ids.uuid4()


async def _taken_in(exchange: Exchange, services: Services, kind: type[R]) -> R | None:
    """The request, with its id and what its headers have for the workers; None when the refusal has been answered."""
    exchange.request_id = request_id_of(exchange, services.ids)
    try:
        request = await _read(exchange, services, kind)
        exchange.metadata = metadata_of(exchange, services.settings.metadata_header)
        return request
    except BodyRefused as refused:
        services.metrics.failures.labels(*_CLASSES_OF_REFUSED[refused.status]).add()
        await respond_refusal(exchange, refused.status, error_body(refused.status, refused.text))
    except RequestError as error:
        services.metrics.failures.labels(error.error_class, error.reason).add()
        await respond_error(exchange, error)
    return None


async def _read(exchange: Exchange, services: Services, kind: type[R]) -> R:
    """The parsed request. Raises RequestError for one that is none, and BodyRefused."""
    settings = services.settings
    if not is_json(exchange):
        raise BodyRefused(415, "Expected request with Content-Type application/json")
    body = await exchange.body()
    if len(body) <= LARGE_BODY_BYTES:
        return parse_request(body, kind, settings.ignore_unsupported_fields)
    parse = partial(parse_request, kind=kind, ignore_unknown=settings.ignore_unsupported_fields)
    return await services.intake.parsed(body, parse)


def usage_wanted(request: ChatRequest | CompletionRequest, force: bool) -> tuple[bool, bool]:
    """Whether a stream shows its usage at the end, and in every chunk."""
    options = request.stream_options
    include = force or (options is not None and options.include_usage is True)
    return include, include and options is not None and options.continuous_usage_stats is True
