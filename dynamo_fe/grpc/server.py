"""The gRPC server around the methods: grpc.aio on the running loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import grpc

from dynamo_fe.grpc import messages
from dynamo_fe.grpc.health import Health
from dynamo_fe.grpc.infer import Inference
from dynamo_fe.grpc.methods import Methods
from dynamo_fe.grpc.reflection import reflect
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.grpc.stream import Streams
from dynamo_fe.ops.logs import trace_of
from dynamo_fe.pipeline.refusal import Refusal

_log = logging.getLogger("dynamo_fe.grpc")

LARGEST_MESSAGE_BYTES: Final = 4 << 20
_LARGEST_HEADERS_BYTES: Final = 16 << 10
_WINDOW_BYTES: Final = 1 << 20
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# Clients that have gone without a word are found by pings; their own are never too many, as in the original.
_PING_EVERY_MS: Final = 30_000
_PING_TIMEOUT_MS: Final = 20_000
_ONLY_IDENTITY: Final = 1
_NO_MESSAGE: Final = "Missing request message."
# for the last words of calls that were ended
_LAST_SECS: Final = 4.0


class Tls(NamedTuple):
    """PEM texts. With `client_authority` only clients with a certificate by it are let in."""

    certificate: bytes
    key: bytes
    client_authority: bytes | None


class KserveServer:
    """One server on one address; `bind` and `start` once, then `stop`."""

    def __init__(self, services: KserveServices) -> None:
        self._services = services
        settings = services.settings
        options: list[tuple[str, Any]] = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", _LARGEST_HEADERS_BYTES),
            ("grpc.absolute_max_metadata_size", _LARGEST_HEADERS_BYTES),
            ("grpc.http2.lookahead_bytes", settings.grpc_stream_window_bytes or _WINDOW_BYTES),
            ("grpc.keepalive_time_ms", _PING_EVERY_MS),
            ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
            ("grpc.http2.max_ping_strikes", 0),
        ]
        if services.strict:
            options.append(("grpc.compression_enabled_algorithms_bitset", _ONLY_IDENTITY))
        self._server = grpc.aio.server(
            handlers=[_Handlers(services)], options=options, maximum_concurrent_rpcs=settings.max_connections
        )

    def bind(self, host: str, port: int, tls: Tls | None) -> None:
        """Raises OSError when the address cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                self._server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(tls.key, tls.certificate)], tls.client_authority, tls.client_authority is not None
                )
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot serve gRPC on {address}: {error}") from error

    async def start(self) -> None:
        """Serves from now on."""
        await self._server.start()

    async def stop(self, limit_secs: float) -> None:
        """Takes no new call, and returns when those that run have ended; after `limit_secs` they are ended."""
        self._services.stopping.set()
        closing = asyncio.create_task(self._server.stop(limit_secs + _LAST_SECS), name="grpc-stop")
        await asyncio.wait([closing], timeout=limit_secs)
        if not closing.done():
            ended = self._services.lifetimes.end_all(Refusal.shutting_down())
            _log.warning("%d calls were still running after %g s and were ended", ended, limit_secs)
        await closing


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Which method is answered by whom. Messages come and go as bytes."""

    def __init__(self, services: KserveServices) -> None:
        inference = Inference(services)
        methods = Methods(services, inference)
        streams = Streams(services, inference)
        self._handlers = {f"/{messages.KSERVE_SERVICE}/ModelStreamInfer": _stream(streams)}
        for name in messages.method_names(messages.KSERVE_SERVICE):
            method = methods.find(name)
            if method is not None:
                self._handlers[f"/{messages.KSERVE_SERVICE}/{name}"] = _unary(method)
        if not services.strict:
            health = Health(services)
            self._handlers[f"/{messages.HEALTH_SERVICE}/Check"] = _check(health)
            self._handlers[f"/{messages.HEALTH_SERVICE}/Watch"] = _watch(health)
            for name in (messages.REFLECTION_SERVICE, messages.OLDER_REFLECTION_SERVICE):
                self._handlers[f"/{name}/ServerReflectionInfo"] = _reflection()

    def service(self, handler_call_details: Any) -> Any:
        """Also answers what nobody knows, without the words that the library would add."""
        return self._handlers.get(handler_call_details.method, _NOT_IMPLEMENTED)


def _unary(method: Callable[[bytes, Any], Awaitable[bytes]]) -> Any:
    """Reads the one message itself: the library would leave a call without one open for ever."""

    async def handle(requests: Any, context: Any) -> bytes:
        try:
            request = await context.read()
            if request is grpc.aio.EOF:
                raise Status(Code.INTERNAL, _NO_MESSAGE)
            return await method(request, context.invocation_metadata())
        except Status as status:
            await _abort(context, status)
        except Exception as error:
            await _abort(context, _broken(error))
        raise AssertionError("an aborted call goes on")

    return grpc.stream_unary_rpc_method_handler(handle)


def _stream(streams: Streams) -> Any:
    async def serve(context: Any) -> None:
        async def read() -> bytes | None:
            message = await context.read()
            return None if message is grpc.aio.EOF else message

        # a client that waits for headers before it writes would wait for ever
        await sent(context.send_initial_metadata(()))
        await streams.serve(read, context.invocation_metadata(), lambda message: sent(context.write(message)))

    return _streaming(serve)


def _watch(health: Health) -> Any:
    async def serve(context: Any) -> None:
        request = await context.read()
        if request is not grpc.aio.EOF:
            await health.watch(request, lambda message: sent(context.write(message)))

    return _streaming(serve)


def _reflection() -> Any:
    async def serve(context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await sent(context.write(reflect(request)))

    return _streaming(serve)


async def sent(sending: Awaitable[None]) -> None:
    """Sends. Raises CancelledError where it fails: the call is over, and the library has yet to cancel its task."""
    try:
        await sending
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


def _streaming(serve: Callable[[Any], Awaitable[None]]) -> Any:
    async def handle(requests: Any, context: Any) -> None:
        try:
            await serve(context)
        except Status as status:
            await _abort(context, status)
        except Exception as error:
            await _abort(context, _broken(error))

    return grpc.stream_stream_rpc_method_handler(handle)


def _check(health: Health) -> Any:
    async def check(request: bytes, metadata: Any) -> bytes:
        return health.check(request)

    return _unary(check)


def _broken(error: Exception) -> Status:
    """A fault of ours, which is logged."""
    _log.error("a call failed: %s", trace_of(error))
    return Status(Code.INTERNAL, "Internal server error")


async def _abort(context: Any, status: Status) -> None:
    """Ends the call; does not return."""
    await context.abort(_CODES[int(status.code)], status.text)


async def _not_implemented(requests: Any, context: Any) -> None:
    await _abort(context, Status(Code.UNIMPLEMENTED, ""))


_NOT_IMPLEMENTED: Final = grpc.stream_stream_rpc_method_handler(_not_implemented)
