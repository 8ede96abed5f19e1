"""What cext/event_blocks.pyx does, in plain Python."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec


def unpack_blocks(data: bytes) -> tuple[array[int], array[int]]:
    try:
        listed: Any = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(listed, list):
        raise ValueError("not an array")
    for block in listed:
        if not isinstance(block, dict) or not all(isinstance(name, str) for name in block):
            raise ValueError("not a map with names")
        for name in ("block_hash", "tokens_hash"):
            if type(block.get(name)) is not int or not 0 <= block[name] < 1 << 64:
                raise ValueError(f"no {name}")
    return array("Q", [block["block_hash"] for block in listed]), array("Q", [block["tokens_hash"] for block in listed])
