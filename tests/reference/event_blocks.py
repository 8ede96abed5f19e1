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
    return hashes_in(listed)


def hashes_in(listed: Any) -> tuple[array[int], array[int]]:
    if not isinstance(listed, list):
        raise ValueError("not an array")
    for block in listed:
        if not isinstance(block, dict) or not all(isinstance(name, str) for name in block):
            raise ValueError("not a map with names")
        for name in ("block_hash", "tokens_hash"):
            if type(block.get(name)) is not int or not 0 <= block[name] < 1 << 64:
                raise ValueError(f"no {name}")
    return array("Q", [block["block_hash"] for block in listed]), array("Q", [block["tokens_hash"] for block in listed])


_TIERS = ["device", "host_pinned", "disk", "external"]


def read_changes(
    payload: bytes, worker_id: int, dp_rank: int, first_id: int
) -> list[tuple[int, int | None, array[int], array[int] | None]] | None:
    try:
        batch: Any = msgspec.msgpack.decode(payload)
        return [change(event, worker_id, dp_rank, first_id + at) for at, event in enumerate(batch)]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, ValueError, KeyError):
        return None


def change(
    told: Any, worker_id: int, dp_rank: int, event_id: int
) -> tuple[int, int | None, array[int], array[int] | None]:
    event, data = told["event"], told["event"]["data"]
    for value, wanted in ((told["worker_id"], worker_id), (event["dp_rank"], dp_rank), (event["event_id"], event_id)):
        if type(value) is not int or value != wanted:
            raise ValueError("another's, or another")
    if told.get("residency_domain", "worker") != "worker" or not isinstance(data, dict) or len(data) != 1:
        raise ValueError("not an everyday one")
    if not all(isinstance(name, str) for part in (told, event, data) for name in part):
        raise ValueError("a name is none")
    tier = _TIERS.index(told.get("storage_tier", "device"))
    if "removed" in data:
        return tier, None, numbers_in(data["removed"]["block_hashes"]), None
    stored = data["stored"]
    number(stored["start_position"], 32)
    number(stored["parent_hash"], 64)
    return tier, stored["parent_hash"], *hashes_in(stored["blocks"])


def number(value: Any, bits: int) -> None:
    if value is not None and (type(value) is not int or not 0 <= value < 1 << bits):
        raise ValueError("not a number")


def numbers_in(listed: Any) -> array[int]:
    if not isinstance(listed, list) or not all(type(each) is int and 0 <= each < 1 << 64 for each in listed):
        raise ValueError("not an array of numbers")
    return array("Q", listed)
