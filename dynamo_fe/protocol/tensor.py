"""Tensors between frontend and worker (`model_input` Tensor, Dynamo 1.6.1): datatypes, answers, configurations.

Numbers travel as lists; here they stay packed, little-endian as in KServe's raw form, until a codec is known. Types are
checked as strictly as the original checks them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

import msgspec


class DataType(NamedTuple):
    """One datatype: its name on the worker's wire, in KServe's messages and in a Triton configuration.

    `code` is the `struct` code of one element, "S" for byte strings (in raw form each behind a u32 length); half
    precision travels as its 16-bit pattern. `item_bytes` is 0 for byte strings. `contents` is the member of
    `InferTensorContents` that holds typed values, None where there is none, `contents_code` the code of its elements.
    """

    wire: str
    kserve: str
    config: str
    code: str
    item_bytes: int
    contents: str | None
    contents_code: str

    @property
    def is_half(self) -> bool:
        """Whether it is one of the two 16-bit floats."""
        return self.contents is None


_TYPES: Final = (
    DataType("Bool", "BOOL", "TYPE_BOOL", "?", 1, "bool_contents", "?"),
    DataType("Uint8", "UINT8", "TYPE_UINT8", "B", 1, "uint_contents", "I"),
    DataType("Uint16", "UINT16", "TYPE_UINT16", "H", 2, "uint_contents", "I"),
    DataType("Uint32", "UINT32", "TYPE_UINT32", "I", 4, "uint_contents", "I"),
    DataType("Uint64", "UINT64", "TYPE_UINT64", "Q", 8, "uint64_contents", "Q"),
    DataType("Int8", "INT8", "TYPE_INT8", "b", 1, "int_contents", "i"),
    DataType("Int16", "INT16", "TYPE_INT16", "h", 2, "int_contents", "i"),
    DataType("Int32", "INT32", "TYPE_INT32", "i", 4, "int_contents", "i"),
    DataType("Int64", "INT64", "TYPE_INT64", "q", 8, "int64_contents", "q"),
    DataType("Float16", "FP16", "TYPE_FP16", "H", 2, None, "H"),
    DataType("BFloat16", "BF16", "TYPE_BF16", "H", 2, None, "H"),
    DataType("Float32", "FP32", "TYPE_FP32", "f", 4, "fp32_contents", "f"),
    DataType("Float64", "FP64", "TYPE_FP64", "d", 8, "fp64_contents", "d"),
    DataType("Bytes", "BYTES", "TYPE_STRING", "S", 0, "bytes_contents", "S"),
)
BY_WIRE: Final = {entry.wire: entry for entry in _TYPES}
BY_KSERVE: Final = {entry.kserve: entry for entry in _TYPES}
BY_CONFIG: Final = {entry.config: entry for entry in _TYPES}

# what a parameter may be, and the Python type of it; an integer is a valid double
PARAMETER_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "bool": (bool,),
    "int64": (int,),
    "string": (str,),
    "double": (float, int),
    "uint64": (int,),
}
Parameters = dict[str, dict[str, Any]]
Dimension = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Values:
    """The elements of one tensor in a request, packed; `of` makes of them what a codec's encoder takes."""

    __slots__ = ("of",)

    def __init__(self, of: Callable[[str], Any]) -> None:
        self.of = of


class TensorMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """What one tensor is."""

    name: str
    data_type: str
    shape: list[Dimension]
    parameters: Parameters = {}


class TensorData(msgspec.Struct):
    """The elements: an extension with the number of the place where they lie in the frame; else what came instead."""

    data_type: str
    values: Any


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One tensor of an answer."""

    metadata: TensorMetadata
    data: TensorData


class TensorItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item of a worker's stream."""

    model: str
    tensors: list[Tensor]
    id: str | None = None
    parameters: Parameters = {}


class PackedTensor(msgspec.Struct):
    """One tensor of an answer, its `count` elements in KServe's raw form."""

    name: str
    data_type: DataType
    shape: list[int]
    parameters: Parameters
    count: int
    raw: bytes


class TensorAnswer(msgspec.Struct):
    """One whole answer. `fault`: why it breaks the rules of its own numbers, in the original's words."""

    model: str
    tensors: list[PackedTensor]
    parameters: Parameters
    fault: str | None = None


class TensorSpec(msgspec.Struct, frozen=True):
    """One input or output of a configuration."""

    name: str
    data_type: str
    shape: list[Dimension]


class TensorModelConfig(msgspec.Struct, frozen=True):
    """What a worker says about its model. `triton_model_config` is a serialized Triton `ModelConfig`, a byte a number;
    all else is ignored where it is there.
    """

    name: str = ""
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    triton_model_config: list[int] | None = None


def read_config(given: Any) -> TensorModelConfig:
    """The `tensor_model_config` of a card. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(given, TensorModelConfig)


def shape_fault(shape: list[int], count: int, index: int) -> str | None:
    """What is wrong with the shape of the tensor number `index` that has `count` elements, None if nothing is."""
    faults = []
    elements = 1
    for dimension in shape:
        if dimension < 0:
            faults.append("only -1 is allowed as a wildcard dimension")
        else:
            elements = min(elements * dimension, MOST_ELEMENTS)
    if elements != count:
        faults.append(f"shape implies {elements} elements but data has {count}")
    return f"tensors[{index}].shape: {', '.join(faults)}" if faults else None


# where the original's count stops
MOST_ELEMENTS: Final = (1 << 64) - 1
