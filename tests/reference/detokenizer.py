"""The plain statement of `dynamo_fe._cext.detokenizer`."""

from __future__ import annotations

import json


def byte_alphabet() -> dict[str, int]:
    """Character → byte of byte-level BPE: printable Latin-1 is itself, the other bytes follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def spelled_bytes(spelling: str) -> bytes:
    """A token's bytes; a spelling with any character outside of the alphabet is its own UTF-8."""
    if all(char in _ALPHABET for char in spelling):
        return bytes(_ALPHABET[char] for char in spelling)
    return spelling.encode()


MOST_REPLACED = 256


class DecodeTable:
    def __init__(self, tokens: list[bytes], special: set[int]) -> None:
        self._tokens = dict(enumerate(tokens))
        self._special = {token_id for token_id in special if 0 <= token_id < len(self)}

    @staticmethod
    def from_vocabulary(vocab_json: bytes, added: list[tuple[int, bytes]], special: set[int]) -> DecodeTable:
        table = DecodeTable([], set())
        table._tokens = {token_id: spelled_bytes(spelling) for spelling, token_id in json.loads(vocab_json).items()}
        table._tokens |= {token_id: spelled_bytes(content.decode()) for token_id, content in added}
        table._special = {token_id for token_id in special if 0 <= token_id < len(table)}
        return table

    def __len__(self) -> int:
        return max(self._tokens, default=-1) + 1

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens.get(token_id, b"")

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special


class Detokenizer:
    def __init__(self, table: DecodeTable, skip_special: bool) -> None:
        self._table = table
        self._skip_special = skip_special
        self._held = b""
        self._replaced = ""

    @property
    def held_bytes(self) -> int:
        return len(self._held)

    def push(self, ids: list[int]) -> str:
        text = self._held
        for token_id in ids:
            if not (self._skip_special and self._table.is_special(token_id)):
                text += self._table.token_bytes(token_id)
        end = len(text) - unfinished(text)
        self._held = text[end:]
        shown = self._replaced + text[:end].decode("utf-8", "replace")
        held = min(len(shown) - len(shown.rstrip("\ufffd")), MOST_REPLACED)
        self._replaced = shown[len(shown) - held :]
        return shown[: len(shown) - held]

    def flush(self) -> str:
        text, self._held = self._held, b""
        replaced, self._replaced = self._replaced, ""
        return replaced + text.decode("utf-8", "replace")

    def forget_replaced(self) -> None:
        self._replaced = ""


def unfinished(text: bytes) -> int:
    """How many bytes at the end begin a character that more bytes could complete: those after which a strict decoder
    only complains of the end."""
    for size in range(min(3, len(text)), 0, -1):
        tail = text[-size:]
        if tail[0] < 0xC0:
            continue
        try:
            tail.decode()
        except UnicodeDecodeError as fault:
            if fault.start == 0 and fault.reason == "unexpected end of data":
                return size
    return 0
