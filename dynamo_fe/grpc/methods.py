"""The unary methods of KServe's service: messages in, messages out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from dynamo_fe import __version__
from dynamo_fe.grpc import messages
from dynamo_fe.grpc.choosing import described
from dynamo_fe.grpc.completion_answer import VERSION
from dynamo_fe.grpc.context import Metadata
from dynamo_fe.grpc.infer import Inference
from dynamo_fe.grpc.model_info import config_of, metadata_of
from dynamo_fe.grpc.services import KserveServices
from dynamo_fe.grpc.status import Code, Status

# serialized message in, serialized answer out; raises Status
Method: TypeAlias = Callable[[bytes, Metadata], Awaitable[bytes]]

_SERVER_NAME: Final = "dynamo-fe"
_EXTENSIONS: Final = ("model_configuration", "statistics", "binary_tensor_data", "generate", "parameters")
_READY: Final = "READY"
_UNAVAILABLE: Final = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One method: the class of its request, and what answers it."""

    request: Any
    answer: Callable[[Any], Any]


class Methods:
    """The table of unary methods by name; those that the original does not answer are left out with `strict`."""

    def __init__(self, services: KserveServices, inference: Inference) -> None:
        self._services = services
        self._inference = inference
        self._entries = {
            "ServerLive": Entry(messages.ServerLiveRequest, self._server_live),
            "ServerReady": Entry(messages.ServerReadyRequest, self._server_ready),
            "ModelReady": Entry(messages.ModelReadyRequest, self._model_ready),
            "ModelMetadata": Entry(messages.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": Entry(messages.ModelConfigRequest, self._model_config),
        }
        if not services.strict:
            self._entries |= {
                "ServerMetadata": Entry(messages.ServerMetadataRequest, self._server_metadata),
                "RepositoryIndex": Entry(messages.RepositoryIndexRequest, self._repository_index),
                "ModelStatistics": Entry(messages.ModelStatisticsRequest, self._model_statistics),
            }

    def find(self, name: str) -> Method | None:
        """The method of that name, None if it is not answered."""
        if name == "ModelInfer":
            return self._infer
        entry = self._entries.get(name)
        if entry is None:
            return None

        async def method(serialized: bytes, metadata: Metadata) -> bytes:
            answer: bytes = entry.answer(decoded(entry.request, serialized)).SerializeToString()
            return answer

        return method

    def call(self, name: str, request: Any) -> Any:
        """The answer to a request of a method other than inference, as messages. Raises Status."""
        return self._entries[name].answer(request)

    async def _infer(self, serialized: bytes, metadata: Metadata) -> bytes:
        return await self._inference.unary(decoded(messages.ModelInferRequest, serialized), metadata)

    def _server_live(self, request: Any) -> Any:
        return messages.ServerLiveResponse(live=True)

    def _server_ready(self, request: Any) -> Any:
        return messages.ServerReadyResponse(ready=bool(self._services.availability.servable()))

    def _model_ready(self, request: Any) -> Any:
        return messages.ModelReadyResponse(ready=self._services.availability.is_servable(request.name))

    def _model_metadata(self, request: Any) -> Any:
        kind, card = described(self._services, request.name)
        return metadata_of(request.name, kind, card)

    def _model_config(self, request: Any) -> Any:
        kind, card = described(self._services, request.name)
        return config_of(request.name, kind, card)

    def _server_metadata(self, request: Any) -> Any:
        return messages.ServerMetadataResponse(name=_SERVER_NAME, version=__version__, extensions=_EXTENSIONS)

    def _repository_index(self, request: Any) -> Any:
        response = messages.RepositoryIndexResponse()
        servable = self._services.availability.servable()
        for name in self._services.registry.announced():
            ready = name in servable
            if ready or not request.ready:
                response.models.add(name=name, version=VERSION, state=_READY if ready else _UNAVAILABLE)
        return response

    def _model_statistics(self, request: Any) -> Any:
        names = [request.name] if request.name else list(self._services.registry.announced())
        if request.name and not self._services.registry.known(request.name):
            raise Status.no_model(request.name)
        return self._services.statistics.answer(names)


def decoded(kind: Any, serialized: bytes) -> Any:
    """A message from its bytes. Raises Status for what is none."""
    try:
        return kind.FromString(serialized)
    except messages.DecodeError as error:
        raise Status(Code.INTERNAL, f"failed to decode Protobuf message: {error}") from error
