"""What cext/block_hash.pyx does, in plain Python over the xxhash package."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Sequence

from xxhash import xxh3_64_intdigest

PUBLIC_SEED = 1337


def block_seed(lora_name: str | None, cache_namespace: str | None) -> int:
    seed = PUBLIC_SEED
    if lora_name:
        seed += xxh3_64_intdigest(lora_name.encode(), 0)
    if cache_namespace:
        seed += xxh3_64_intdigest(cache_namespace.encode(), 1)
    return seed % 2**64


def pack_tokens(token_ids: list[int]) -> array[int]:
    for token in token_ids:
        if type(token) is not int:
            raise TypeError(f"token id {token!r} is not an integer")
        if not 0 <= token < 2**32:
            raise ValueError(f"token id {token} is out of range")
    return array("I", token_ids)


def local_hashes(
    tokens: Sequence[int],
    block_tokens: int,
    seed: int = PUBLIC_SEED,
    eagle: bool = False,
    mm_hashes: Sequence[Collection[int] | None] | None = None,
) -> array[int]:
    if block_tokens < 1:
        raise ValueError(f"block size {block_tokens} is not positive")
    ids = pack_tokens(list(tokens))
    hashes = []
    for block in range(max(len(ids) - eagle, 0) // block_tokens):
        start = block * block_tokens
        data = ids[start : start + block_tokens + eagle].tobytes()
        objects = mm_hashes[block] if mm_hashes is not None and block < len(mm_hashes) else None
        data += b"".join(struct.pack("<Q", number) for number in sorted(objects or ()))
        hashes.append(xxh3_64_intdigest(data, seed))
    return array("Q", hashes)


def sequence_hashes(local: Sequence[int], chain_seed: int = PUBLIC_SEED) -> array[int]:
    hashes: list[int] = []
    for number in local:
        hashes.append(xxh3_64_intdigest(struct.pack("<QQ", hashes[-1], number), chain_seed) if hashes else number)
    return array("Q", hashes)
