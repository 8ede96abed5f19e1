"""Reads one request body: counted, within its limit and the budget, decoded, never waited for without end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from dynamo_fe.http import content_coding
from dynamo_fe.http.intake import BodyRefused, BodyTicket, Intake

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

_DRAIN_SECS: Final = 10.0


async def read_body(
    receive: Receive, intake: Intake, ticket: BodyTicket, declared: bytes | None, coding: bytes | None, limit_bytes: int
) -> bytes:
    """The whole body, decoded. `declared` and `coding` are the headers content-length and content-encoding.

    Raises BodyRefused: too large, unknown coding, no budget, silent sender, broken off. Then most of what was still
    under way has been read and thrown away: a client still sending gets to see the answer instead of a broken pipe.
    """
    expected = int(declared) if declared is not None and declared.isdigit() else None
    intake.begin(ticket)
    try:
        codings = content_coding.codings_of(coding)
        if expected is not None:
            _check_size(expected, limit_bytes)
            ticket.charge(expected)
        body = await _collect(receive, intake, ticket, expected, limit_bytes)
    except asyncio.CancelledError:
        if ticket.interrupted():
            raise BodyRefused(408, "The request body did not arrive in time") from None
        raise
    except content_coding.UnknownCoding as error:
        intake.end(ticket)
        await _drain(receive, limit_bytes)
        text = f"Unsupported content-encoding {str(error)[:40]!r}: gzip, deflate and zstd are accepted"
        raise BodyRefused(415, text) from error
    except BodyRefused:
        intake.end(ticket)
        await _drain(receive, limit_bytes)
        raise
    finally:
        intake.end(ticket)
    return await _decoded(body, codings, intake, ticket, limit_bytes) if codings else body


async def _collect(
    receive: Receive, intake: Intake, ticket: BodyTicket, expected: int | None, limit_bytes: int
) -> bytes:
    """With a content-length the last empty message is not awaited: that saves one hop between threads, 26 µs a
    request. Parts are gathered in a BytesIO of the right size from the start, which hands its buffer out uncopied: a
    list and a join take twice the memory of a large body.
    """
    gathered = io.BytesIO()
    size = 0
    while expected is None or size < expected:
        message = await receive()
        if message["type"] == "http.disconnect":
            # also what the server makes of a broken chunk, whose sender is still there
            raise BodyRefused(400, "The request body broke off")
        part: bytes = message.get("body", b"")
        size += len(part)
        if expected is None:
            _check_size(size, limit_bytes)
            ticket.charge(len(part))
        if size == len(part) and (size == expected or not message.get("more_body", False)):
            return part
        if size == len(part) and expected is not None:
            gathered.seek(expected - 1)
            gathered.write(b"\0")
            gathered.seek(0)
        gathered.write(part)
        if not message.get("more_body", False):
            break
        if part:
            intake.progressed(ticket)
    gathered.truncate(size)
    return gathered.getvalue()


async def _decoded(body: bytes, codings: list[str], intake: Intake, ticket: BodyTicket, limit_bytes: int) -> bytes:
    async with intake.decoders:
        try:
            decoded = await asyncio.to_thread(content_coding.decode, body, codings, limit_bytes)
        except content_coding.DecodedTooLarge as error:
            raise _too_large(limit_bytes) from error
        except content_coding.BrokenCoding as error:
            if body.lstrip()[:1] in (b"{", b"["):
                return body  # plain JSON with the header left over: the original ignores the header
            text = f"The request body is not what its content-encoding says: {error}"
            raise BodyRefused(400, text) from error
    if len(decoded) > len(body):
        ticket.charge(len(decoded) - len(body))
    return decoded


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> BodyRefused:
    text = f"Request body exceeds the limit of {limit_bytes >> 20} MB set by DYN_HTTP_BODY_LIMIT_MB"
    return BodyRefused(413, text)


async def _drain(receive: Receive, bound_bytes: int) -> None:
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECS):
            while size < bound_bytes:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
