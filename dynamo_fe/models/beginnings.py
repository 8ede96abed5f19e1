"""A text that is much too long is found out piece by piece: encoding 40 MB as one takes a gigabyte of memory."""

from __future__ import annotations

from typing import Final

from dynamo_fe.models.encoders import Encoder
from dynamo_fe.models.errors import TooManyTokens

# Most texts have 3 to 5 characters a token: a longer one is likely to be beyond its limit.
_CHARS_A_TOKEN: Final = 6
_PIECE_CHARS: Final = 1 << 18
# What a cut may have added: the text around it falls into other tokens than in one piece.
_TOKENS_A_CUT: Final = 256


def encode_within(encoder: Encoder, text: str, add_special_tokens: bool, most_tokens: int) -> list[int]:
    """The ids of a text, in a thread. Only a text within the limit, or with very long tokens, is encoded as a whole.

    Raises TooManyTokens if there are more than `most_tokens`.
    """
    if len(text) > most_tokens * _CHARS_A_TOKEN:
        count = 0
        for start in range(0, len(text), _PIECE_CHARS):
            count += max(0, encoder.count_off_loop(text[start : start + _PIECE_CHARS]) - _TOKENS_A_CUT)
            if count > most_tokens:
                raise TooManyTokens(count, exact=False)
    return encoder.encode_off_loop(text, add_special_tokens, most_tokens)
