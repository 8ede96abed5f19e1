"""How the file store spells keys: one directory per bucket (`v1/instances`), in it one flat file per key whose name
is the rest of the key, percent-encoded."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

TEMPORARY_PREFIX = ".tmp_"

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def split_key(key: str) -> tuple[str, str]:
    """A key, or a watched prefix, as (bucket, rest). Raises `ValueError` when it does not reach into one bucket."""
    parts = key.split("/", 2)
    if len(parts) < 3 or not parts[0] or not parts[1]:
        raise ValueError(f"discovery key {key!r} is not inside one bucket such as v1/instances/")
    return f"{parts[0]}/{parts[1]}", parts[2]


def encode_name(rest: str) -> str:
    """Every byte that is not an ASCII letter or digit becomes %XX, upper case: also `-`, `_`, `.` and `/`."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in rest.encode())


def decode_name(name: str) -> str | None:
    """The rest of the key, or None for a file that is none of the store's (temporary, not UTF-8)."""
    if name.startswith(TEMPORARY_PREFIX):
        return None
    try:
        return unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        return None
