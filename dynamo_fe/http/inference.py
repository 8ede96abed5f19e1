"""What chat and completions requests have in common before their own part begins."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dynamo_fe.http.errors import error_body, respond_error, respond_refusal
from dynamo_fe.http.exchange import BodyTooLarge, ClientGone, Exchange
from dynamo_fe.http.meter import UNKNOWN_MODEL, Meter
from dynamo_fe.http.parse import is_json, parse_request
from dynamo_fe.http.services import Services
from dynamo_fe.models.served import ServedModel
from dynamo_fe.ops.random_ids import RandomIds
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest, NvExt

R = TypeVar("R", ChatRequest, CompletionRequest)


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
    request = await _read(exchange, services, kind)
    if request is None:
        return
    known = services.registry.known(request.model)
    meter = Meter(services.metrics, request.model if known else UNKNOWN_MODEL, endpoint, bool(request.stream))
    task = asyncio.current_task()
    assert task is not None
    left = False

    def gone() -> None:
        nonlocal left
        left = True
        task.cancel()

    exchange.on_disconnect(gone)
    try:
        await _answered(exchange, services, request, meter, check, answer)
    except asyncio.CancelledError:
        meter.client_left()
        if not left:
            raise
    finally:
        exchange.forget_disconnect()


async def _answered(
    exchange: Exchange,
    services: Services,
    request: R,
    meter: Meter,
    check: Callable[[R], None],
    answer: Callable[[R, ServedModel, Meter], Awaitable[None]],
) -> None:
    try:
        if services.draining:
            raise Refusal("Unavailable", "backend.unavailable", "Service is not ready")
        if services.registry.known(request.model) and not services.registry.find(request.model):
            raise Refusal.not_ready(request.model)
        _apply_headers(exchange, request)
        check(request)
        await answer(request, model_of(services, request.model), meter)
    except RequestError as error:
        meter.failed(error)
        await respond_error(exchange, error)
    except Exception as error:
        meter.failed(RequestError("Internal", "runtime.internal", str(error)))
        raise


def model_of(services: Services, name: str) -> ServedModel:
    """The model behind a name. Raises Refusal when there is none."""
    sets = services.registry.find(name)
    if not sets:
        known = services.registry.known(name) or not services.registry.listed
        raise Refusal.not_ready(name) if known else Refusal.unknown_model()
    return sets[0].served


def request_id_of(exchange: Exchange, ids: RandomIds) -> str:
    """The caller's `x-dynamo-request-id` where it is a UUID, kept as it is spelled; else a fresh one."""
    given = exchange.header(b"x-dynamo-request-id")
    if given is not None:
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            text = given.decode("ascii")
            uuid.UUID(text)
            return text
    return ids.uuid4()


def metadata_of(exchange: Exchange, prefix: str) -> dict[str, str] | None:
    """Headers that begin with `prefix`, the rest of the name as key; of duplicates the first wins."""
    wanted = prefix.lower().encode()
    found: dict[str, str] = {}
    for key, value in exchange.headers():
        if key.startswith(wanted) and value.isascii():
            found.setdefault(key[len(wanted) :].decode("ascii"), value.decode("ascii").strip())
    return found or None


async def _read(exchange: Exchange, services: Services, kind: type[R]) -> R | None:
    """The parsed request, or None when the refusal has been answered."""
    settings = services.settings
    if not is_json(exchange):
        text = "Expected request with Content-Type application/json"
        await respond_refusal(exchange, 415, error_body(415, text))
        return None
    try:
        body = await exchange.body(settings.body_limit_mb << 20)
        return parse_request(body, kind, settings.ignore_unsupported_fields)
    except ClientGone:
        return None
    except BodyTooLarge:
        text = f"Request body exceeds the limit of {settings.body_limit_mb} MB set by DYN_HTTP_BODY_LIMIT_MB"
        await respond_refusal(exchange, 413, error_body(413, text))
    except RequestError as error:
        await respond_error(exchange, error)
    return None


def _apply_headers(exchange: Exchange, request: ChatRequest | CompletionRequest) -> None:
    """Headers that set fields of `nvext`; they beat the body, and values that cannot be read count as absent."""
    for header, fields in _NVEXT_HEADERS:
        value = exchange.header(header)
        if value is not None and value.isdigit() and len(value) <= _MOST_DIGITS and int(value) < 1 << 64:
            nvext = request.nvext = request.nvext or NvExt()
            for field in fields:
                setattr(nvext, field, int(value))
    salt = exchange.header(b"x-tenant-id")
    if salt:
        nvext = request.nvext = request.nvext or NvExt()
        nvext.cache_salt = salt.decode("latin-1")


# of an unsigned 64-bit number
_MOST_DIGITS = 20
_NVEXT_HEADERS: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"x-worker-instance-id", ("backend_instance_id", "decode_worker_id")),
    (b"x-dynamo-worker-instance-id", ("backend_instance_id", "decode_worker_id")),
    (b"x-prefill-instance-id", ("prefill_worker_id",)),
    (b"x-dynamo-prefill-instance-id", ("prefill_worker_id",)),
)


def usage_wanted(request: ChatRequest | CompletionRequest, force: bool) -> tuple[bool, bool]:
    """Whether a stream shows its usage at the end, and in every chunk."""
    options = request.stream_options
    include = force or (options is not None and options.include_usage)
    return include, include and options is not None and options.continuous_usage_stats


def as_token_ids(request: ChatRequest | CompletionRequest) -> bool:
    """Whether tokens of logprobs are written `token_id:N`."""
    return request.return_tokens_as_token_ids is True
