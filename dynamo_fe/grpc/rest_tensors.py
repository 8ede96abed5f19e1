"""Tensors of KServe's REST protocol: JSON, or bytes behind the JSON, to and from the messages of gRPC. Sans I/O.

Inside, all of them are in raw form. Half precision has no JSON form and goes as bytes only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from dynamo_fe.grpc.messages import ModelInferRequest
from dynamo_fe.grpc.status import Code, Status
from dynamo_fe.pipeline.tensor_request import as_list, split_strings
from dynamo_fe.protocol.tensor import BY_KSERVE, DataType

BINARY_SIZE: Final = "binary_data_size"
BINARY: Final = "binary_data"
BINARY_OUTPUT: Final = "binary_data_output"
_MOST_NESTED: Final = 32


def invalid(text: str) -> Status:
    """A request that cannot be read."""
    return Status(Code.INVALID_ARGUMENT, text)


def read_request(name: str, document: Any, behind: bytes) -> Any:
    """A `ModelInferRequest` from the JSON of a request and the bytes that follow it. Raises Status."""
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise invalid("the request must be an object with a list `inputs`")
    request = ModelInferRequest(model_name=name)
    request.id = _text(document.get("id", ""), "id")
    write_json_parameters(request.parameters, document.get("parameters"))
    at = 0
    for given in document["inputs"]:
        if not isinstance(given, dict):
            raise invalid("each of `inputs` must be an object")
        parameters = dict(_object(given.get("parameters")))
        size = parameters.pop(BINARY_SIZE, None)
        tensor = request.inputs.add(
            name=_text(given.get("name"), "name"), datatype=_text(given.get("datatype"), "datatype")
        )
        tensor.shape.extend(_shape(given.get("shape")))
        write_json_parameters(tensor.parameters, parameters)
        if size is None:
            request.raw_input_contents.append(_packed(tensor, given.get("data")))
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(behind) - at:
            raise invalid(f"`{BINARY_SIZE}` of input '{tensor.name}' is not what follows the JSON")
        request.raw_input_contents.append(behind[at : at + size])
        at += size
    if at != len(behind):
        raise invalid(f"{len(behind) - at} bytes behind the JSON belong to no input")
    for given in document.get("outputs") or ():
        output = request.outputs.add(name=_text(_object(given).get("name"), "name"))
        kept = {key: value for key, value in _object(given.get("parameters")).items() if key != BINARY}
        write_json_parameters(output.parameters, kept)
    return request


def wants_bytes(document: dict[str, Any]) -> tuple[bool, dict[str, bool]]:
    """Whether outputs go as bytes behind the JSON unless they say otherwise, and what each says."""
    everywhere = _object(document.get("parameters")).get(BINARY_OUTPUT) is True
    asked = {}
    for output in document.get("outputs") or ():
        wish = _object(output.get("parameters")).get(BINARY)
        if isinstance(wish, bool):
            asked[str(output.get("name"))] = wish
    return everywhere, asked


def write_response(response: Any, everywhere: bool, asked: dict[str, bool]) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON of a `ModelInferResponse`, and what is to follow it. Raises Status for what has no JSON form."""
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = json_parameters(response.parameters)
    outputs, behind = [], []
    for index, output in enumerate(response.outputs):
        told: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        parameters = json_parameters(output.parameters)
        data_type = BY_KSERVE[output.datatype]
        raw = _raw_of(output, response.raw_output_contents, index)
        if asked.get(output.name, everywhere):
            parameters[BINARY_SIZE] = len(raw)
            behind.append(raw)
        else:
            told["data"] = _json_data(data_type, raw, output.name)
        if parameters:
            told["parameters"] = parameters
        outputs.append(told)
    return document | {"outputs": outputs}, behind


def write_json_parameters(target: Any, given: Any) -> None:
    """Fills a map of `InferParameter` from JSON. Raises Status for values that are no scalars."""
    for key, value in _object(given).items():
        if isinstance(value, bool):
            target[key].bool_param = value
        elif isinstance(value, str):
            target[key].string_param = value
        elif isinstance(value, float):
            target[key].double_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            target[key].int64_param = value
        elif isinstance(value, int) and 0 <= value < 1 << 64:
            target[key].uint64_param = value
        else:
            raise invalid(f"parameter '{key}' must be a boolean, a number of 64 bits or a text")


def json_parameters(parameters: Any) -> dict[str, Any]:
    """A map of `InferParameter` as JSON."""
    return {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in parameters.items()}


def _packed(tensor: Any, data: Any) -> bytes:
    data_type = BY_KSERVE.get(tensor.datatype)
    if data_type is None:
        raise invalid(f"unknown datatype '{tensor.datatype}' of input '{tensor.name}'")
    if data_type.is_half:
        raise invalid(f"{tensor.datatype} of input '{tensor.name}' has no JSON form: send it as bytes")
    values = list(_flat(data, 0))
    try:
        if data_type.code == "S":
            parts = [value.encode() for value in values]
            return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        if data_type.code == "?" and not all(isinstance(value, bool) for value in values):
            raise TypeError("a boolean is expected")
        return struct.pack(f"<{len(values)}{data_type.code}", *values)
    except (struct.error, AttributeError, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise invalid(f"the data of input '{tensor.name}' are not {tensor.datatype}: {error}") from error


def _flat(data: Any, depth: int) -> Iterator[Any]:
    if not isinstance(data, list) or depth > _MOST_NESTED:
        raise invalid("`data` must be a list, or lists in a list")
    for value in data:
        if isinstance(value, list):
            yield from _flat(value, depth + 1)
        else:
            yield value


def _raw_of(output: Any, raw: Any, index: int) -> bytes:
    """Answers of text are typed, those of tensors raw."""
    if index < len(raw):
        packed: bytes = raw[index]
        return packed
    texts: Iterable[bytes] = output.contents.bytes_contents
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _json_data(data_type: DataType, raw: bytes, name: str) -> list[Any]:
    if data_type.is_half:
        raise Status(Code.INVALID_ARGUMENT, f"output '{name}' has no JSON form: ask for it as bytes (`{BINARY}`)")
    if data_type.code == "S":
        return [part.decode("utf-8", "replace") for part in split_strings(raw)]
    return as_list(data_type, raw)


def _shape(given: Any) -> list[int]:
    if not isinstance(given, list) or not all(type(part) is int and abs(part) < 1 << 63 for part in given):
        raise invalid("`shape` must be a list of integers")
    return given


def _object(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise invalid("an object is expected")
    return given


def _text(given: Any, name: str) -> str:
    if not isinstance(given, str):
        raise invalid(f"`{name}` must be a text")
    return given
