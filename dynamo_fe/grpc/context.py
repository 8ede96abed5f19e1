"""What the worker is told beside the request: an id for its context, and metadata of the call."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from dynamo_fe.grpc.status import Code, Status

# names in lower case; the values of binary entries are bytes
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

_MOST_ENTRIES: Final = 64
_MOST_BYTES: Final = 64 * 1024
_HEX = "[0-9a-fA-F]"
_HYPHENATED: Final = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
_UUID: Final = re.compile(rf"(?:urn:uuid:)?({_HYPHENATED})|\{{({_HYPHENATED})\}}|({_HEX}{{32}})")


def context_id(request_id: str) -> str | None:
    """A request id that is a UUID in any of its spellings, as lower-case hyphenated text; else None."""
    found = _UUID.fullmatch(request_id)
    if found is None:
        return None
    digits = next(part for part in found.groups() if part).replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def context_metadata(metadata: Metadata, prefix: str) -> dict[str, str] | None:
    """The entries whose name begins with `prefix`, without it; of one name the first. Credentials are left out.

    Raises Status for too many of them.
    """
    wanted = prefix.lower()
    found: dict[str, str] = {}
    for name, value in metadata:
        if not name.startswith(wanted) or isinstance(value, bytes):
            continue
        key, text = name[len(wanted) :], value.strip()
        if key != "authorization" and not text.lower().startswith("bearer "):
            found.setdefault(key, text)
    if len(found) > _MOST_ENTRIES:
        text = f"metadata headers exceed the limit of {_MOST_ENTRIES} entries"
        raise Status(Code.INVALID_ARGUMENT, text)
    if sum(len(key) + len(value) for key, value in found.items()) > _MOST_BYTES:
        raise Status(Code.INVALID_ARGUMENT, f"metadata headers exceed the limit of {_MOST_BYTES} bytes")
    return found or None
