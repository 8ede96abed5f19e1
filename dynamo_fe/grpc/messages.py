"""The messages of the gRPC services, over descriptors compiled at build time.

Their own descriptor pool: nothing here meets the definitions of another package in the same process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from dynamo_fe.grpc._descriptors import FILES

__all__ = ["DecodeError"]

pool = descriptor_pool.DescriptorPool()
for _serialized in FILES:
    pool.AddSerializedFile(_serialized)

KSERVE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
REFLECTION_SERVICE = "grpc.reflection.v1.ServerReflection"
OLDER_REFLECTION_SERVICE = "grpc.reflection.v1alpha.ServerReflection"


def message(name: str) -> Any:
    """The class of a message by its full name."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


DATA_TYPES = pool.FindEnumTypeByName("inference.DataType")

ModelConfig = message("inference.ModelConfig")
ModelConfigRequest = message("inference.ModelConfigRequest")
ModelConfigResponse = message("inference.ModelConfigResponse")
ModelInferRequest = message("inference.ModelInferRequest")
ModelInferResponse = message("inference.ModelInferResponse")
ModelMetadataRequest = message("inference.ModelMetadataRequest")
ModelMetadataResponse = message("inference.ModelMetadataResponse")
ModelReadyRequest = message("inference.ModelReadyRequest")
ModelReadyResponse = message("inference.ModelReadyResponse")
ModelStatisticsRequest = message("inference.ModelStatisticsRequest")
ModelStatisticsResponse = message("inference.ModelStatisticsResponse")
ModelStreamInferResponse = message("inference.ModelStreamInferResponse")
RepositoryIndexRequest = message("inference.RepositoryIndexRequest")
RepositoryIndexResponse = message("inference.RepositoryIndexResponse")
ServerLiveRequest = message("inference.ServerLiveRequest")
ServerLiveResponse = message("inference.ServerLiveResponse")
ServerMetadataRequest = message("inference.ServerMetadataRequest")
ServerMetadataResponse = message("inference.ServerMetadataResponse")
ServerReadyRequest = message("inference.ServerReadyRequest")
ServerReadyResponse = message("inference.ServerReadyResponse")

HealthCheckRequest = message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = message("grpc.health.v1.HealthCheckResponse")

ServerReflectionRequest = message("grpc.reflection.v1.ServerReflectionRequest")
ServerReflectionResponse = message("grpc.reflection.v1.ServerReflectionResponse")


def method_names(service: str) -> list[str]:
    """The names of a service's methods."""
    return [method.name for method in pool.FindServiceByName(service).methods]
