"""The reflection service of gRPC: the files that the services are described by."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from dynamo_fe.grpc import messages
from dynamo_fe.grpc.messages import ServerReflectionRequest, ServerReflectionResponse
from dynamo_fe.grpc.methods import decoded
from dynamo_fe.grpc.status import Code

_SERVICES: Final = (messages.KSERVE_SERVICE, messages.HEALTH_SERVICE, messages.REFLECTION_SERVICE)


def reflect(serialized: bytes) -> bytes:
    """The answer to one request of a reflection stream. Raises Status for what is no request."""
    request = decoded(ServerReflectionRequest, serialized)
    response = ServerReflectionResponse(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        for name in _SERVICES:
            response.list_services_response.service.add(name=name)
    else:
        file = _file(kind, request)
        if file is None:
            response.error_response.error_code = Code.NOT_FOUND
            response.error_response.error_message = "not found"
        else:
            response.file_descriptor_response.file_descriptor_proto.append(file)
    answer: bytes = response.SerializeToString()
    return answer


def _file(kind: str | None, request: Any) -> bytes | None:
    """The file asked for, serialized; None where there is none, as for extensions, which these files have not."""
    try:
        if kind == "file_by_filename":
            file = messages.pool.FindFileByName(request.file_by_filename)
        elif kind == "file_containing_symbol":
            file = _containing(request.file_containing_symbol)
        else:
            return None
    except KeyError:
        return None
    found = FileDescriptorProto()
    file.CopyToProto(found)
    serialized: bytes = found.SerializeToString()
    return serialized


def _containing(symbol: str) -> Any:
    """The file of a symbol; the library does not find methods by themselves. Raises KeyError."""
    try:
        return messages.pool.FindFileContainingSymbol(symbol)
    except KeyError:
        service, _, method = symbol.rpartition(".")
        return messages.pool.FindServiceByName(service).methods_by_name[method].containing_service.file
