"""The checksum of a model card, which every worker request carries as ``mdc_sum``.

It covers what decides how a prompt is made (names, files, lengths, stage), not what the engine can do at run time. Byte
for byte as Dynamo 1.6.1, verified against its captures.
"""

from __future__ import annotations

import os.path
import struct
from collections.abc import Sequence
from typing import Final

import orjson
from blake3 import blake3

from dynamo_fe.protocol.card import FileRef, ModelCard

_STAGE_CODES: Final = {None: 0, "prefill": 1, "decode": 2, "encode": 3, "aggregated": 4}
# the names of prompt context mixins as the original's debug print spells them
_MIXIN_NAMES: Final = {"oai_chat": "OaiChat", "llama3_date_time": "Llama3DateTime"}


def mdc_sum(card: ModelCard) -> str:
    """The card's checksum, 64 hex digits.

    Raises:
        ValueError: the card names a worker type that has no code.
    """
    parts = [card.display_name.encode(), (card.source_path or "").encode()]
    parts += [ref.checksum.encode() for ref in card.files()]
    parts += _extra_files(card.extra_files or [])
    if card.prompt_context is not None:
        names = ", ".join(_MIXIN_NAMES.get(str(mixin), str(mixin)) for mixin in card.prompt_context)
        parts.append(f"[{names}]".encode())
    parts.append(struct.pack(">II", card.effective_context_length(), card.kv_cache_block_size))
    parts.append(_stage(card.worker_type))
    parts.append(struct.pack(">I", len(card.needs)))
    for alternative in card.needs:
        parts.append(struct.pack(">I", len(alternative)))
        parts += [_stage(stage) for stage in alternative]
    if card.router_config is not None:
        parts.append(blake3(orjson.dumps(card.router_config)).digest())
    if card.aliases:
        parts.append(struct.pack(">I", len(card.aliases)))
        for alias in card.aliases:
            encoded = alias.encode()
            parts.append(struct.pack(">I", len(encoded)) + encoded)
    return blake3(b"".join(parts)).hexdigest()


def _extra_files(refs: Sequence[FileRef]) -> list[bytes]:
    named = sorted((os.path.basename(ref.path), ref.checksum.removeprefix("blake3:")) for ref in refs)
    return [name.encode() + b"\0" + digest.encode() for name, digest in named]


def _stage(name: str | None) -> bytes:
    code = _STAGE_CODES.get(name)
    if code is None:
        raise ValueError(f"unknown worker type {name!r}")
    return bytes([code])
