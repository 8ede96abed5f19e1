"""The clock of this host, held against that of the store: of etcd or Kubernetes, whose answers over HTTP are dated."""

from __future__ import annotations

import asyncio
import ctypes
import re
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from dynamo_fe.cli.doctor.finding import Finding
from dynamo_fe.config import Settings
from dynamo_fe.discovery.etcd_options import etcd_options
from dynamo_fe.discovery.factory import kubernetes_options

# long before this program was written
_EARLIEST: Final = 1_750_000_000.0
_ANSWER_SECS: Final = 2.0
_MOST_APART_SECS: Final = 3.0
# a Date has no fractions
_DATE_SECS: Final = 1.0
_MOST_BYTES: Final = 16 << 10
# adjtimex(2): what it returns, and the size of its struct on 64-bit machines
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 208


class _Asked(NamedTuple):
    """A server that dates its answers."""

    name: str
    host: str
    port: int
    tls: bool


async def check_clock(settings: Settings) -> list[Finding]:
    """Certificates, tokens and logs go by it."""
    now = time.strftime("%FT%TZ", time.gmtime())
    if time.time() < _EARLIEST:
        return [Finding("fail", "clock", f"it says {now}", "set it, by NTP for instance")]
    servers = _servers(settings)
    for server in servers:
        apart_secs = await _apart_secs(server)
        if apart_secs is not None:
            return [_judged(now, server.name, apart_secs)]
    why = f"{servers[0].name} does not date its answer" if servers else "the store has none"
    return [Finding("ok", "clock", f"{now}, compared with no other clock ({why}); {_kept_by_ntp()}")]


def _judged(now: str, name: str, apart_secs: float) -> Finding:
    if abs(apart_secs) <= _MOST_APART_SECS:
        return Finding("ok", "clock", f"{now}, as {name} has it")
    text = f"{now} is {abs(apart_secs):.0f} s {'ahead of' if apart_secs > 0 else 'behind'} that of {name}"
    return Finding("warn", "clock", text, "have NTP set both")


def _servers(settings: Settings) -> list[_Asked]:
    """What cannot be read of the settings is said by other checks."""
    try:
        if settings.discovery_backend == "etcd":
            places = [(each.target.rpartition(":"), each.tls) for each in etcd_options(settings).endpoints]
            return [_Asked(f"etcd at {h}:{p}", h.strip("[]"), int(p), tls) for (h, _, p), tls in places]
        if settings.discovery_backend == "kubernetes":
            access = kubernetes_options()[1]
            return [_Asked(f"Kubernetes at {access.address}", access.host, access.port, access.use_tls)]
    except ValueError:
        pass
    return []


async def _apart_secs(server: _Asked) -> float | None:
    """How far our clock is ahead of the server's, at least; None where that cannot be said."""
    before = time.time()
    try:
        async with asyncio.timeout(_ANSWER_SECS):
            head = await _head(server)
        found = re.search(rb"^date: *([^\r\n]+)", head, re.IGNORECASE | re.MULTILINE)
        theirs = None if found is None else parsedate_to_datetime(found[1].decode()).timestamp()
    except (OSError, EOFError, ValueError, TimeoutError):
        return None
    if theirs is None:
        return None
    # it was written at some moment between, and up to a second before that on their clock
    if before > theirs + _DATE_SECS:
        return before - theirs - _DATE_SECS
    return min(0.0, time.time() - theirs)


async def _head(server: _Asked) -> bytes:
    """Of any answer; a refusal is dated as well. Nothing that is secret is sent, so whose server it is matters not."""
    context = None
    if server.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context, limit=_MOST_BYTES)
    try:
        name = f"[{server.host}]" if ":" in server.host else server.host
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}:{server.port}\r\nConnection: close\r\n\r\n".encode())
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError(str(error)) from None
    finally:
        writer.close()


def _kept_by_ntp() -> str:
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None).adjtimex(timex)
    except AttributeError:
        state = -1
    if state < 0:
        return "whether NTP sets it cannot be read"
    return "the kernel does not know of NTP setting it" if state == _TIME_ERROR else "NTP sets it"
