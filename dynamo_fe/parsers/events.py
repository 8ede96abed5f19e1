"""What a parser tells its endpoint, in the order of the text."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Content(msgspec.Struct, frozen=True):
    """Text for the user."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """Text of the model's reasoning."""

    text: str


class CallStart(msgspec.Struct, frozen=True):
    """A call begins; `index` counts from 0."""

    index: int
    call_id: str
    name: str


class Arguments(msgspec.Struct, frozen=True):
    """The next piece of a call's arguments, which together are one JSON text."""

    index: int
    text: str


class CallEnd(msgspec.Struct, frozen=True):
    """A call is complete. One that was cut off or broke off has no end."""

    index: int


Event: TypeAlias = Content | Thought | CallStart | Arguments | CallEnd
