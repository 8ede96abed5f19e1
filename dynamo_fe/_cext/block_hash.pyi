from array import array
from collections.abc import Collection, Sequence

from typing_extensions import Buffer

PUBLIC_SEED: int

def xxh3(data: Buffer, seed: int = 0) -> int: ...
def block_seed(lora_name: str | None, cache_namespace: str | None) -> int: ...
def pack_tokens(token_ids: list[int]) -> array[int]: ...
def local_hashes(
    tokens: Buffer | list[int],
    block_tokens: int,
    seed: int = ...,
    eagle: bool = False,
    mm_hashes: Sequence[Collection[int] | None] | None = None,
) -> array[int]: ...
def sequence_hashes(local: Buffer, chain_seed: int = ...) -> array[int]: ...
