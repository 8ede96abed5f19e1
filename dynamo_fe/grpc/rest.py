"""KServe's REST protocol: the paths below /v2, answered by the same methods as gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import orjson
from google.protobuf import json_format

from dynamo_fe.grpc import messages
from dynamo_fe.grpc.context import Metadata
from dynamo_fe.grpc.infer import Inference
from dynamo_fe.grpc.methods import Methods
from dynamo_fe.grpc.rest_tensors import invalid, read_request, wants_bytes, write_json_parameters, write_response
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.protocol.kserve_rest import JSON_LENGTH, Headers, RestAnswer, RestRequest

Write = Callable[[bytes], Awaitable[None]]

_JSON: Final = (b"content-type", b"application/json")
_STATUS: Final = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
    Code.RESOURCE_EXHAUSTED: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
_RETRY: Final = (b"retry-after", b"1")
_RETRIED: Final = (429, 503)
_ACTIONS: Final = ("infer", "generate", "generate_stream", "ready", "config", "stats")
# of a generate request: everything else is a setting
_GENERATE_KEYS: Final = ("text_input", "id", "parameters", "stream", "model_name")


class _WrongMethod(Exception):
    """A path is asked with a method that it does not take."""

    def __init__(self, request: RestRequest, allow: bytes) -> None:
        super().__init__(f"{request.method} is not allowed for {request.path}, but {allow.decode()}")
        self.allow = allow


class Rest:
    """One object a process."""

    def __init__(self, services: KserveServices) -> None:
        self._inference = Inference(services)
        self._stalled_secs = services.settings.stalled_reader_timeout_secs
        self._methods = Methods(services, self._inference)

    async def answer(self, request: RestRequest, write: Write) -> RestAnswer | None:
        """See `KserveRest`."""
        begun = False

        async def noted(frame: bytes) -> None:
            nonlocal begun
            begun = True
            await write(frame)

        try:
            return await self._route(request, noted)
        except Status as status:
            if begun:
                # what failed may be that the client takes nothing
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._stalled_secs):
                        await write(b"data: " + _error(status) + b"\n\n")
                return None
            code = status.http_status or _STATUS.get(status.code, 500)
            return RestAnswer(code, [_JSON, _RETRY] if code in _RETRIED else [_JSON], _error(status))
        except _WrongMethod as wrong:
            return RestAnswer(405, [_JSON, (b"allow", wrong.allow)], orjson.dumps({"error": str(wrong)}))

    async def _route(self, request: RestRequest, write: Write) -> RestAnswer | None:
        path = request.path.removeprefix("/v2").strip("/")
        if path in ("", "health/live", "health/ready"):
            _expect(request, "GET")
            return self._about_server(path)
        if path == "repository/index":
            _expect(request, "POST")
            answer = self._methods.call("RepositoryIndex", messages.RepositoryIndexRequest(**_ready_only(request.body)))
            return _json(_mapping(answer).get("models", []))
        if not path.startswith("models/"):
            raise Status(Code.NOT_FOUND, f"Route not found: {request.method} {request.path}")
        name, action = _model_and_action(path.removeprefix("models/"))
        _expect(request, "POST" if action in ("infer", "generate", "generate_stream") else "GET")
        if action == "infer":
            return await self._infer(name, request)
        if action == "generate":
            return await self._generate(name, request)
        if action == "generate_stream":
            await self._generate_stream(name, request, write)
            return None
        return self._about_model(name, action)

    def _about_server(self, path: str) -> RestAnswer:
        if path == "health/live":
            return _json({"live": True})
        if path == "health/ready":
            ready = self._methods.call("ServerReady", messages.ServerReadyRequest()).ready
            return _json({"ready": ready}, 200 if ready else 503)
        return _json(_mapping(self._methods.call("ServerMetadata", messages.ServerMetadataRequest())))

    def _about_model(self, name: str, action: str) -> RestAnswer:
        if action == "ready":
            ready = self._methods.call("ModelReady", messages.ModelReadyRequest(name=name)).ready
            return _json({"name": name, "ready": ready}, 200 if ready else 503)
        if action == "config":
            answer = self._methods.call("ModelConfig", messages.ModelConfigRequest(name=name))
            return _json(_mapping(answer.config))
        if action == "stats":
            return _json(_mapping(self._methods.call("ModelStatistics", messages.ModelStatisticsRequest(name=name))))
        return _json(_mapping(self._methods.call("ModelMetadata", messages.ModelMetadataRequest(name=name))))

    async def _infer(self, name: str, request: RestRequest) -> RestAnswer:
        length = _json_length(request)
        document = _document(request.body[:length])
        message = read_request(name, document, request.body[length:])
        response = messages.ModelInferResponse.FromString(
            await self._inference.unary(message, _metadata(request.headers))
        )
        told, behind = write_response(response, *wants_bytes(document))
        body = orjson.dumps(told)
        if not behind:
            return RestAnswer(200, [_JSON], body)
        headers: Headers = [(b"content-type", b"application/octet-stream"), (JSON_LENGTH, b"%d" % len(body))]
        return RestAnswer(200, headers, b"".join([body, *behind]))

    async def _generate(self, name: str, request: RestRequest) -> RestAnswer:
        message = _generate_request(name, _document(request.body), streaming=False)
        answer = await self._inference.unary(message, _metadata(request.headers))
        return _json(_generated(messages.ModelInferResponse.FromString(answer)))

    async def _generate_stream(self, name: str, request: RestRequest, write: Write) -> None:
        message = _generate_request(name, _document(request.body), streaming=True)

        async def event(serialized: bytes) -> None:
            answer = messages.ModelStreamInferResponse.FromString(serialized)
            body = {"error": answer.error_message} if answer.error_message else _generated(answer.infer_response)
            await write(b"data: " + orjson.dumps(body) + b"\n\n")

        await self._inference.streamed(message, _metadata(request.headers), event, early_failure_ends=True)


def _generate_request(name: str, document: dict[str, Any], streaming: bool) -> Any:
    """The `ModelInferRequest` of a text and settings, which may stand beside it or in `parameters`."""
    prompt = document.get("text_input")
    if not isinstance(prompt, str):
        raise invalid("`text_input` must be a text")
    request = messages.ModelInferRequest(model_name=name)
    request.id = document["id"] if isinstance(document.get("id"), str) else ""
    text = request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    text.contents.bytes_contents.append(prompt.encode("utf-8", "replace"))
    flag = request.inputs.add(name="streaming", datatype="BOOL", shape=[1])
    flag.contents.bool_contents.append(streaming)
    beside = {key: value for key, value in document.items() if key not in _GENERATE_KEYS}
    inside = document.get("parameters") or {}
    if not isinstance(inside, dict):
        raise invalid("`parameters` must be an object")
    for key, value in (beside | inside).items():
        # the one setting that is a list
        told = orjson.dumps(value).decode() if key == "stop" and isinstance(value, list) else value
        if told is not None:
            write_json_parameters(request.parameters, {key: told})
    return request


def _generated(response: Any) -> dict[str, Any]:
    """Texts and finish reasons by the names of the outputs; bare where there is one choice."""
    told: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        told["id"] = response.id
    for output in response.outputs:
        texts = [part.decode("utf-8", "replace") for part in output.contents.bytes_contents]
        told[output.name] = texts[0] if len(texts) == 1 else texts
    return told


def _model_and_action(path: str) -> tuple[str, str]:
    """The model's name, which may hold slashes, and what is asked of it; a version is looked over. Raises Status."""
    parts = path.split("/")
    action = parts.pop() if len(parts) > 1 and parts[-1] in _ACTIONS else ""
    if len(parts) > 2 and parts[-2] == "versions":
        del parts[-2:]
    name = unquote("/".join(parts))
    if not name:
        raise Status(Code.NOT_FOUND, "no model is named")
    return name, action


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the request is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise invalid("the request must be an object")
    return document


def _ready_only(body: bytes) -> dict[str, bool]:
    return {"ready": _document(body).get("ready") is True} if body else {}


def _json_length(request: RestRequest) -> int:
    given = next((value for name, value in request.headers if name == JSON_LENGTH), None)
    if given is None:
        return len(request.body)
    if not given.isdigit() or int(given) > len(request.body):
        raise invalid("Inference-Header-Content-Length is not the length of the JSON in the body")
    return int(given)


def _metadata(headers: Headers) -> Metadata:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _mapping(message: Any) -> dict[str, Any]:
    """The JSON of a message: names as in the .proto, numbers of 64 bits as numbers where they are small."""
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {key: _numbers(value) for key, value in found.items()}


def _numbers(value: Any) -> Any:
    """Shapes come as texts from the library, since JavaScript has no integers of 64 bits; clients expect numbers."""
    if isinstance(value, dict):
        return {
            key: [int(part) for part in inner] if key in ("shape", "dims") else _numbers(inner)
            for key, inner in value.items()
        }
    return [_numbers(part) for part in value] if isinstance(value, list) else value


def _expect(request: RestRequest, method: str) -> None:
    allow = "GET,HEAD" if method == "GET" else method
    if request.method not in allow.split(","):
        raise _WrongMethod(request, allow.encode())


def _json(body: Any, status: int = 200) -> RestAnswer:
    return RestAnswer(status, [_JSON], orjson.dumps(body))


def _error(status: Status) -> bytes:
    return orjson.dumps({"error": status.plain})
