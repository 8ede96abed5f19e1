"""Ids of tool calls, as each family's chat template wants to see them again in the next turn."""

from __future__ import annotations

import re
import secrets
import string
import uuid
from typing import Final

_ALPHABET: Final = string.ascii_letters + string.digits
_MISTRAL: Final = re.compile(r"[A-Za-z0-9]{9}")


def uuid_id(name: str, index: int, given: str | None) -> str:
    return f"call-{uuid.uuid4()}"


def given_id(name: str, index: int, given: str | None) -> str:
    """The model's own, which its template looks for."""
    return given or uuid_id(name, index, given)


def counted_id(name: str, index: int, given: str | None) -> str:
    """`name:index`, counted from 0 in the answer."""
    return f"{name}:{index}"


def nine_characters(name: str, index: int, given: str | None) -> str:
    """Exactly nine letters and digits, without which templates of Mistral models refuse the next turn."""
    if given is not None and _MISTRAL.fullmatch(given):
        return given
    return "".join(secrets.choice(_ALPHABET) for _ in range(9))
