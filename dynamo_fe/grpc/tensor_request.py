"""What a tensor model is asked: a `ModelInferRequest` as the fields that its worker is sent. Sans I/O.

Numbers stay packed: typed contents are packed in bulk, raw ones are checked and handed on as they are.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any, Final

from dynamo_fe.grpc.completion_request import RAW_FOR_ALL
from dynamo_fe.grpc.parameters import read_parameters
from dynamo_fe.grpc.status import Status
from dynamo_fe.pipeline.tensor_request import split_strings, values_of
from dynamo_fe.protocol.tensor import BY_KSERVE, MOST_ELEMENTS, DataType, shape_fault

assert sys.byteorder == "little", "packed numbers are little-endian on KServe's wire"

_HALF_TYPED: Final = (
    "FP16/BF16 tensors must be sent via `raw_input_contents`; `InferTensorContents` has no typed field for "
    "half-precision (input '{}')"
)


def read_tensors(request: Any) -> dict[str, Any]:
    """The fields of the worker's request. Raises Status."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Status.bad_request(RAW_FOR_ALL)
    tensors = []
    faults = []
    for index, tensor in enumerate(request.inputs):
        data_type = BY_KSERVE.get(tensor.datatype)
        if data_type is None:
            raise Status.bad_request("Invalid data type")
        shape = list(tensor.shape)
        if tensor.HasField("contents"):
            count, packed = _typed(tensor, data_type)
            fault = shape_fault(shape, count, index)
            faults += [] if fault is None else [fault]
        elif raw:
            packed = _raw(tensor.name, data_type, shape, raw[index])
        else:
            raise Status.bad_request(f"Missing data for input '{tensor.name}': neither contents nor raw contents")
        metadata: dict[str, Any] = {"name": tensor.name, "data_type": data_type.wire, "shape": shape}
        if tensor.parameters:
            metadata["parameters"] = read_parameters(tensor.parameters)
        data = {"data_type": data_type.wire, "values": values_of(data_type, packed)}
        tensors.append({"metadata": metadata, "data": data})
    fields: dict[str, Any] = {"id": request.id or None, "model": request.model_name, "tensors": tensors}
    if request.outputs:
        fields["outputs"] = [_requested(output) for output in request.outputs]
    if request.parameters:
        fields["parameters"] = read_parameters(request.parameters)
    if faults:
        raise Status.bad_request("".join(faults))
    return fields


def _requested(output: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": output.name}
    if output.parameters:
        found["parameters"] = read_parameters(output.parameters)
    return found


def _typed(tensor: Any, data_type: DataType) -> tuple[int, bytes]:
    """(count, raw form) of typed contents; those of the wrong member count as none."""
    if data_type.contents is None:
        raise Status.bad_request(_HALF_TYPED.format(tensor.name))
    values = getattr(tensor.contents, data_type.contents)
    if data_type.code == "S":
        return len(values), b"".join([len(value).to_bytes(4, "little") + value for value in values])
    if data_type.code == "?":
        return len(values), bytes(values)
    packed = array(data_type.contents_code, values).tobytes()
    if data_type.code == data_type.contents_code:
        return len(values), packed
    # values too wide for their datatype keep their low bits
    low = memoryview(packed) if data_type.item_bytes == 1 else memoryview(packed).cast("H")
    return len(values), low[:: 4 // data_type.item_bytes].tobytes()


def _raw(name: str, data_type: DataType, shape: list[int], packed: bytes) -> bytes:
    """The raw form, checked against the shape."""
    expected = 1
    for dimension in shape:
        if dimension < 0:
            raise Status.bad_request(f"Shape contains negative dimension: {dimension}")
        expected *= dimension
        if expected > MOST_ELEMENTS:
            raise Status.bad_request("Overflow occurred while calculating element count")
    if data_type.code == "S":
        try:
            count = len(split_strings(packed))
        except ValueError as error:
            raise Status.bad_request(f"Invalid length-prefixed BYTES input for '{name}', {error}") from error
    else:
        if len(packed) % data_type.item_bytes:
            raise Status.bad_request(f"Raw input length must be a multiple of {data_type.item_bytes}")
        count = len(packed) // data_type.item_bytes
    if count != expected:
        detail = f"expected {expected} elements, got {count} elements"
        raise Status.bad_request(f"Raw input element count for '{name}' does not match expected size, {detail}")
    return packed
