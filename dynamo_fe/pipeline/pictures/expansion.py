"""The prompt as routers hash it: every picture as many tokens as the model makes of it, named by the picture itself.

Source: Dynamo 1.6.1 (`mm_routing_info` of its worker requests); a worker's KV events name such blocks alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_PAD_BASE: Final = 1_000_000
_PAD_MASK: Final = (1 << 30) - 1
# a request that shows more is routed by its text: it would take more memory than its prompt is worth
_MOST_TOKENS: Final = 1 << 20


class Picture(NamedTuple):
    """`number` names it, `tokens` is what the model makes of it."""

    number: int
    tokens: int


class Expanded(NamedTuple):
    """`token_ids` fill whole blocks, `length` are those of the prompt."""

    token_ids: list[int]
    length: int


def expanded(
    token_ids: list[int], placeholder_id: int, bos_id: int | None, pictures: Sequence[Picture], block_tokens: int
) -> Expanded | None:
    """None where the prompt does not show every picture by one placeholder, or all would be too many."""
    if block_tokens < 1 or token_ids.count(placeholder_id) != len(pictures):
        return None
    if len(token_ids) + sum(picture.tokens for picture in pictures) > _MOST_TOKENS:
        return None
    out = [] if bos_id is None else [bos_id]
    at = 0
    for picture in pictures:
        shown_at = token_ids.index(placeholder_id, at)
        out += token_ids[at:shown_at]
        out += [_PAD_BASE + (picture.number & _PAD_MASK)] * picture.tokens
        at = shown_at + 1
    out += token_ids[at:]
    length = len(out)
    out += [0] * (-length % block_tokens)
    return Expanded(out, length)
