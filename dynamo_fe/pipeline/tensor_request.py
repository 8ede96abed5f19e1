"""What a tensor worker is sent: named tensors with their numbers as lists, in the codec that the worker registered.

Source: Dynamo 1.6.1, what its workers of `model_input` Tensor saw.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from dynamo_fe._cext.tensor_codec import pack_values
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.single import shortest
from dynamo_fe.protocol.tensor import DataType, Values
from dynamo_fe.protocol.worker_request import TextRequest


def tensor_prepared(fields: dict[str, Any], model: ServedModel) -> Prepared:
    """The request ready for any worker of its model; `fields` are all that the worker is sent."""
    body = TextRequest.of(model.name, model.mdc_sum, fields)
    return Prepared(model, body, prompt_tokens=0, choices=0, formatted_prompt=None)


def values_of(data_type: DataType, raw: bytes) -> Values:
    """The elements in KServe's raw form, as they go into a request. The form must have been checked."""

    def encoder_input(codec: str) -> Any:
        return msgspec.Raw(pack_values(data_type.code, raw)) if codec == "msgpack" else as_list(data_type, raw)

    return Values(encoder_input)


def as_list(data_type: DataType, raw: bytes) -> list[Any]:
    """The elements one by one: numbers, or lists of the numbers of bytes. Single precision has its shortest digits."""
    if data_type.code == "S":
        return [list(part) for part in split_strings(raw)]
    if data_type.code == "?":
        return [byte != 0 for byte in raw]
    numbers = list(struct.unpack(f"<{len(raw) // data_type.item_bytes}{data_type.code}", raw))
    return [shortest(number) for number in numbers] if data_type.code == "f" else numbers


def split_strings(raw: bytes) -> list[bytes]:
    """The byte strings of KServe's raw form. Raises ValueError where a length exceeds what is left, saying whether
    something or nothing of a length was there.
    """
    found = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < 4:
            raise ValueError("extra bytes at the end")
        size = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if size > end - at:
            raise ValueError("length exceeds raw input size")
        found.append(raw[at : at + size])
        at += size
    return found
