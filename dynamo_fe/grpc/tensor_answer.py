"""What a tensor model answers, as `ModelInferResponse`: raw if the request was, else typed. Sans I/O."""

from __future__ import annotations

from array import array
from typing import Any, Final

from dynamo_fe.grpc.completion_answer import VERSION
from dynamo_fe.grpc.parameters import write_parameters
from dynamo_fe.grpc.wire import size_bytes
from dynamo_fe.pipeline.tensor_request import split_strings
from dynamo_fe.protocol.tensor import PackedTensor, TensorAnswer

# raw_output_contents, a field that has a length
_RAW: Final = b"\x32"
_HALF_TYPED: Final = (
    "FP16/BF16 tensors cannot be returned via `InferTensorContents`; use `raw_output_contents` "
    "(set_raw_output_contents = true) for output '{}'"
)


def fault_of(answer: TensorAnswer, raw: bool) -> str | None:
    """Why an answer cannot be sent, None if it can."""
    if answer.fault is not None:
        return answer.fault
    half = next((tensor.name for tensor in answer.tensors if tensor.data_type.is_half), None)
    return None if raw or half is None else _HALF_TYPED.format(half)


def write_tensors(target: Any, answer: TensorAnswer, request_id: str, raw: bool) -> None:
    """Fills a `ModelInferResponse` from an answer without fault, all but the raw contents."""
    target.model_name = answer.model
    target.model_version = VERSION
    target.id = request_id
    write_parameters(target.parameters, answer.parameters)
    for tensor in answer.tensors:
        output = target.outputs.add(name=tensor.name, datatype=tensor.data_type.kserve, shape=tensor.shape)
        write_parameters(output.parameters, tensor.parameters)
        if not raw:
            output.contents.SetInParent()
            _write_typed(output.contents, tensor)


def _write_typed(contents: Any, tensor: PackedTensor) -> None:
    data_type = tensor.data_type
    assert data_type.contents is not None
    if data_type.code == "S":
        contents.bytes_contents.extend(split_strings(tensor.raw))
    elif data_type.code == "?":
        contents.bool_contents.extend(byte != 0 for byte in tensor.raw)
    else:
        getattr(contents, data_type.contents).extend(array(data_type.code, tensor.raw))


def raw_contents(answer: TensorAnswer) -> list[bytes]:
    """The `raw_output_contents` as they follow the other fields of a serialized `ModelInferResponse`."""
    return [part for tensor in answer.tensors for part in (_RAW, size_bytes(len(tensor.raw)), tensor.raw)]
