"""Token ids back to text: which family a tokenizer.json is of, and the decoders that family needs.

Byte-level BPE (its decoder is ``ByteLevel``) is a table of bytes: no library object, two MB. Every other family decodes
through the Hugging Face library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec
from tokenizers import Tokenizer

from dynamo_fe._cext.detokenizer import DecodeTable, Detokenizer
from dynamo_fe.models.decoder import MOST_TOKENS_A_CHARACTER, LibraryDecoder, TokenDecoder, UnfinishedPromptDecoder
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.token_bound import longest_token_bytes


class Vocabulary(Protocol):
    """What a tokenizer knows about single tokens."""

    @property
    def size(self) -> int:
        """One more than the largest token id."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token; empty for an unknown id."""

    def is_special(self, token_id: int) -> bool:
        """Dropped from the text when special tokens are skipped."""

    def decoder(self, skip_special_tokens: bool, prompt_ids: list[int]) -> TokenDecoder:
        """An incremental decoder for one choice."""

    def least_tokens(self, text: str) -> int:
        """A number of tokens that the text has at least; 0 where nothing is known."""


class TableVocabulary:
    """Byte-level BPE. `longest_token_bytes`: see `token_bound`; 0 if texts may be shortened before they are encoded."""

    def __init__(self, table: DecodeTable, longest_token_bytes: int = 0) -> None:
        self._table = table
        self._longest_token_bytes = longest_token_bytes
        self.size = len(table)

    def token_bytes(self, token_id: int) -> bytes:
        return self._table.token_bytes(token_id)

    def is_special(self, token_id: int) -> bool:
        return self._table.is_special(token_id)

    def decoder(self, skip_special_tokens: bool, prompt_ids: list[int]) -> TokenDecoder:
        detokenizer = Detokenizer(self._table, skip_special_tokens)
        detokenizer.push(prompt_ids[-MOST_TOKENS_A_CHARACTER:])
        detokenizer.forget_replaced()
        if detokenizer.held_bytes:
            return UnfinishedPromptDecoder(detokenizer)
        return detokenizer

    def least_tokens(self, text: str) -> int:
        # characters are no more than bytes, and need not be counted
        return len(text) // self._longest_token_bytes if self._longest_token_bytes else 0


class LibraryVocabulary:
    """Any other family, through the Hugging Face library."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)
        self.size = max(tokenizer.get_vocab_size(with_added_tokens=True), max(added, default=-1) + 1)

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.size:
            return b""
        text: str = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return text.encode()

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special

    def decoder(self, skip_special_tokens: bool, prompt_ids: list[int]) -> TokenDecoder:
        return LibraryDecoder(self._tokenizer, skip_special_tokens, prompt_ids)

    def least_tokens(self, text: str) -> int:
        return 0


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False


class _Model(msgspec.Struct):
    type: str | None = None
    vocab: msgspec.Raw = msgspec.Raw()
    merges: msgspec.Raw = msgspec.Raw()


class _TokenizerFile(msgspec.Struct):
    model: _Model
    decoder: dict[str, Any] | None = None
    added_tokens: list[_AddedToken] = []
    normalizer: Any = None
    pre_tokenizer: Any = None
    truncation: Any = None


def read_decode_table(path: Path) -> DecodeTable | None:
    """The table of a byte-level BPE tokenizer.json; None for any other family.

    Blocks on the disk: call it in a thread. Holds the GIL for about 1 ms a MB of the file (the JSON outside of the
    vocabulary is skipped, not built).

    Raises:
        CardError: not a tokenizer.json.
    """
    found = _read(path)
    return found and found[0]


def read_vocabulary(path: Path) -> TableVocabulary | None:
    """The same as a vocabulary; 0.1 µs a token longer. Raises CardError likewise."""
    found = _read(path)
    if found is None:
        return None
    table, parsed = found
    longest = longest_token_bytes(
        table,
        normalizer=parsed.normalizer,
        pre_tokenizer=parsed.pre_tokenizer,
        truncation=parsed.truncation,
        swallows_blanks=any(token.lstrip or token.rstrip for token in parsed.added_tokens),
    )
    return TableVocabulary(table, longest)


def _read(path: Path) -> tuple[DecodeTable, _TokenizerFile] | None:
    try:
        parsed = msgspec.json.decode(path.read_bytes(), type=_TokenizerFile)
        if not _is_byte_level(parsed):
            return None
        added = [(token.id, token.content.encode()) for token in parsed.added_tokens]
        special = {token.id for token in parsed.added_tokens if token.special}
        return DecodeTable.from_vocabulary(bytes(parsed.model.vocab), added, special), parsed
    except (msgspec.DecodeError, ValueError, OSError) as failure:
        raise CardError(f"{path} is not a readable tokenizer.json: {failure}") from failure


def _is_byte_level(parsed: _TokenizerFile) -> bool:
    # files of old library versions do not name the kind of model; only BPE has merges
    kind = parsed.model.type or ("BPE" if bytes(parsed.model.merges) else None)
    if kind != "BPE" or parsed.decoder is None:
        return False
    steps = [parsed.decoder]
    if parsed.decoder.get("type") == "Sequence":
        steps = parsed.decoder.get("decoders") or []
    kinds = [step.get("type") for step in steps]
    # Fuse behind ByteLevel joins what is joined already
    return kinds[:1] == ["ByteLevel"] and all(kind == "Fuse" for kind in kinds[1:])
