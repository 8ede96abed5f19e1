"""From the items of a tensor worker to whole answers; the numbers are unpacked in bulk and checked on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe._cext.tensor_codec import BadElement, lift_lists, unpack_values
from dynamo_fe.pipeline.delta import TensorDelta, Usage
from dynamo_fe.pipeline.whole_items import WholeItems
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.tensor import (
    BY_WIRE,
    PARAMETER_TYPES,
    DataType,
    PackedTensor,
    Parameters,
    Tensor,
    TensorAnswer,
    TensorItem,
    shape_fault,
)

_INTEGERS: Final = {"b": "i8", "B": "u8", "h": "i16", "H": "u16", "i": "i32", "I": "u32", "q": "i64", "Q": "u64"}
_ELEMENTS: Final = {**_INTEGERS, "?": "a boolean", "f": "f32", "d": "f64"}
_EXPECTED: Final = {"bool": "a boolean", "int64": "i64", "string": "a string", "double": "f64", "uint64": "u64"}
_RANGES: Final = {"int64": range(-(1 << 63), 1 << 63), "uint64": range(1 << 64)}
_MEMBERS: Final = {
    "tensor": "`metadata` or `data`",
    "metadata": "one of `name`, `data_type`, `shape`, `parameters`",
    "item": "one of `id`, `model`, `tensors`, `parameters`",
}
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?\Z", re.S)
_MISSING: Final = re.compile(r"Object missing required field `(.*?)`")
_WRONG_TYPE: Final = re.compile(r"Expected `(.*?)`, got `(.*?)`")
_GOT: Final = {"null": "unit value", "str": "string", "int": "integer", "array": "sequence", "object": "map"}
_WANTED: Final = {"str": "a string", "int": "i64", "array": "a sequence", "object": "a map"}


class Envelope(msgspec.Struct):
    """The envelope of one frame."""

    data: TensorItem | None = None
    event: str | None = None
    error: Any = None


class Failure(msgspec.Struct):
    """The same of an envelope whose `data` is no answer."""

    event: str | None = None
    error: Any = None


_ENVELOPE: Final = msgspec.msgpack.Decoder(Envelope)
_FAILURE: Final = msgspec.msgpack.Decoder(Failure)


class TensorDelivery(WholeItems):
    """The stream of a worker that answers tensors. An item that cannot be read is told as such and ends nothing."""

    __slots__ = ()

    @property
    def answered(self) -> bool:
        """Never known: only the end of the stream tells."""
        return False

    def usage(self) -> Usage:
        return Usage(0, 0, True, None)

    def _read(self, item: OutputItem, first: bool) -> TensorDelta | None:
        if item.raw is None:
            raise RequestError.protocol_error("an item of tokens from a worker of tensors")
        answer: TensorAnswer | None = None
        fault: str | None = None
        event: Envelope | Failure
        try:
            # a worker of the older codec has few numbers and small ones: one reader for both
            raw = item.raw if self.codec == "msgpack" else msgspec.msgpack.encode(msgspec.json.decode(item.raw))
            skeleton, places = lift_lists(raw)
            try:
                event = envelope = _ENVELOPE.decode(skeleton)
                if envelope.data is not None and envelope.event != "error":
                    answer = read_answer(envelope.data, [memoryview(raw)[at : at + size] for at, size in places])
            except (ValueError, msgspec.ValidationError) as error:
                fault = _in_words(str(error))
                event = _FAILURE.decode(skeleton)
        except (ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise RequestError.protocol_error(f"item cannot be read: {error}") from error
        if event.event == "error":
            raise RequestError.from_wire(event.error, first)
        if answer is None and fault is None:
            return None
        return TensorDelta(0, "", None, 0, [], answer=answer, fault=fault)


def read_answer(item: TensorItem, lists: list[memoryview]) -> TensorAnswer:
    """One answer, its numbers packed; `lists` are those that stood in it. Raises ValueError, in the original's words
    where they are simple.
    """
    _check_parameters(item.parameters)
    tensors = [_packed(tensor, lists) for tensor in item.tensors]
    return TensorAnswer(item.model, tensors, item.parameters, _fault_of(item.tensors, tensors))


def _packed(tensor: Tensor, lists: list[memoryview]) -> PackedTensor:
    metadata, values = tensor.metadata, tensor.data.values
    _known(metadata.data_type)
    _check_parameters(metadata.parameters)
    data_type = _known(tensor.data.data_type)
    if not isinstance(values, msgspec.msgpack.Ext):
        raise ValueError(f"invalid type: {_spoken(values)}, expected a sequence")
    packed = lists[int.from_bytes(values.data, "big")]
    try:
        count, raw = unpack_values(data_type.code, packed)
    except BadElement as error:
        raise ValueError(_wrong_element(data_type, packed, error.index)) from error
    return PackedTensor(metadata.name, data_type, metadata.shape, metadata.parameters, count, raw)


def _known(name: str) -> DataType:
    found = BY_WIRE.get(name)
    if found is None:
        raise ValueError(f"unknown variant `{name}`, expected one of {_listed(BY_WIRE)}")
    return found


def _check_parameters(parameters: Parameters) -> None:
    for value in parameters.values():
        if len(value) != 1:
            raise ValueError("invalid value: map, expected map with a single key")
        ((kind, inner),) = value.items()
        types = PARAMETER_TYPES.get(kind)
        if types is None:
            raise ValueError(f"unknown variant `{kind}`, expected one of {_listed(PARAMETER_TYPES)}")
        if type(inner) not in types:
            raise ValueError(f"invalid type: {_spoken(inner)}, expected {_EXPECTED[kind]}")
        if kind in _RANGES and inner not in _RANGES[kind]:
            raise ValueError(f"invalid value: {_spoken(inner)}, expected {_EXPECTED[kind]}")


def _fault_of(tensors: list[Tensor], packed: list[PackedTensor]) -> str | None:
    """What the original's validation says of an item that could be read."""
    faults = []
    for index, (tensor, numbers) in enumerate(zip(tensors, packed, strict=True)):
        if tensor.metadata.data_type != tensor.data.data_type:
            faults.append(f"tensors[{index}].data_type: metadata.data_type does not match data variant")
        shape = shape_fault(numbers.shape, numbers.count, index)
        if shape is not None:
            faults.append(shape)
    return f"Invalid NvCreateTensorResponse: {''.join(faults)}" if faults else None


def _wrong_element(data_type: DataType, packed: memoryview, index: int) -> str:
    """What the original says of the element that does not fit."""
    value = msgspec.msgpack.decode(packed)[index]
    expected = _ELEMENTS.get(data_type.code, "bytes or a sequence")
    if data_type.code == "S" and isinstance(value, list):
        wrong = next((byte for byte in value if type(byte) is not int or not 0 <= byte <= 255), None)
        kind = "value" if type(wrong) is int else "type"
        return f"invalid {kind}: {_spoken(wrong)}, expected u8"
    kind = "value" if type(value) is int and data_type.code in _INTEGERS else "type"
    return f"invalid {kind}: {_spoken(value)}, expected {expected}"


def _in_words(text: str) -> str:
    """The original's words for a decoder's complaint."""
    unknown = _UNKNOWN.match(text)
    if unknown is not None:
        path = (unknown[2] or "").removeprefix(".data")
        members = "metadata" if path.endswith(".metadata") else "tensor" if path else "item"
        return f"unknown field `{unknown[1]}`, expected {_MEMBERS[members]}"
    missing = _MISSING.match(text)
    if missing is not None:
        return f"missing field `{missing[1]}`"
    wrong = _WRONG_TYPE.match(text)
    if wrong is not None:
        return f"invalid type: {_GOT.get(wrong[2], wrong[2])}, expected {_WANTED.get(wrong[1], wrong[1])}"
    return text


def _spoken(value: Any) -> str:
    """A value as the original names it in its complaints."""
    if value is None:
        return "unit value"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value}"'
    return "sequence" if isinstance(value, list) else "map" if isinstance(value, dict) else "byte array"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
