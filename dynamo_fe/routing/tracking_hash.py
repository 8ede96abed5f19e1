"""The keyed hash of the blocks that count as load (`keyed-xxh3-v1`): two seeds that only holders of the key know."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

_DOMAIN = b"dynamo.router.tracking-hash/keyed-xxh3-v1\0"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class TrackingKey:
    """A key of 32 bytes and its name. Raises ValueError for a key of another length."""

    key: bytes
    key_id: str

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a tracking hash key has {KEY_BYTES} bytes, this one has {len(self.key)}")


def tracking_seeds(
    key: TrackingKey,
    *,
    model_name: str,
    routing_group: str,
    block_tokens: int,
    cache_namespace: str | None,
    lora_name: str | None,
    eagle: bool,
) -> tuple[int, int]:
    """(block seed, chain seed) for `local_hashes` and `sequence_hashes`.

    Format: BLAKE3, keyed, over the domain and seven fields, each a number, a length as u64 and the bytes; the two that
    may be absent have a byte 0 or 1 before the length.
    """
    digest = blake3(
        _DOMAIN
        + _field(1, key.key_id.encode())
        + _field(2, model_name.encode())
        + _field(3, routing_group.encode())
        + _field(4, block_tokens.to_bytes(4, "little"))
        + _optional(5, cache_namespace)
        + _optional(6, lora_name)
        + _field(7, bytes([eagle])),
        key=key.key,
    ).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def _field(number: int, value: bytes) -> bytes:
    return bytes([number]) + _sized(value)


def _optional(number: int, text: str | None) -> bytes:
    return bytes([number, 0]) if text is None else bytes([number, 1]) + _sized(text.encode())


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value
