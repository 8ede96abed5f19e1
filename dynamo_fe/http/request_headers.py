"""Headers that say something about an inference request: pins, priorities, tenant, session, metadata.

They beat the body; values that cannot be read count as absent. Source: Dynamo 1.6.1.
"""

from __future__ import annotations

import re
from typing import Any, Final

from dynamo_fe.http.exchange import Exchange
from dynamo_fe.pipeline.rank_pin import RankHeader
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import AgentHints, ChatRequest, CompletionRequest, NvExt

_INTEGER: Final = re.compile(rb"([+-]?)([0-9]{1,20})\Z")
_UNSET_RANK: Final = 0xFFFF_FFFF
_RANK: Final = (b"x-dynamo-dp-rank", b"x-dp-rank", b"x-data-parallel-rank")
# of a value that is refused
_SHOWN_BYTES: Final = 32
_MOST_METADATA: Final = 64
_MOST_METADATA_BYTES: Final = 64 * 1024
_NEVER_COMMON: Final = ("x-", "X-")
_TRUTH: Final = {b"true": True, b"1": True, b"false": False, b"0": False}

# names that mean the same, the first given wins: what they set, lowest and highest value
_PINS: Final[tuple[tuple[tuple[bytes, ...], tuple[str, ...], int], ...]] = (
    (
        (b"x-dynamo-worker-instance-id", b"x-worker-instance-id"),
        ("backend_instance_id", "decode_worker_id"),
        (1 << 64) - 1,
    ),
    ((b"x-dynamo-prefill-instance-id", b"x-prefill-instance-id"), ("prefill_worker_id",), (1 << 64) - 1),
    (_RANK, ("dp_rank",), _UNSET_RANK),
    ((b"x-dynamo-prefill-dp-rank", b"x-prefill-dp-rank"), ("prefill_dp_rank",), _UNSET_RANK - 1),
)
_PRIORITY: Final = b"x-dynamo-request-priority"
_STRICT_PRIORITY: Final = b"x-dynamo-request-strict-priority"
# session and parent headers by client, in the order they are looked at
_DYNAMO_SESSION: Final = (b"x-dynamo-session-id", b"x-dynamo-parent-session-id")
_CLAUDE: Final = (b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id")
_OTHER_SESSIONS: Final = ((b"x-session-id", b"x-parent-session-id"), (b"thread-id", b"x-codex-parent-thread-id"))
_LISTED: Final = (*_CLAUDE, *(name for pair in _OTHER_SESSIONS for name in pair), b"session-id")
_TRIGGERS: Final = {"user": "user_message", "tool": "tool_result", "function": "tool_result"}


def apply_headers(exchange: Exchange, request: ChatRequest | CompletionRequest, nvext_off: bool) -> None:
    """Sets the fields of `nvext` that headers name. With `nvext_off` all of it goes but the salt of the cache."""
    if exchange.plain and not nvext_off:
        return
    request.everyday = False
    given = {name: value.strip() for name, value in reversed(exchange.headers())}
    if nvext_off:
        salt = request.nvext.cache_salt if request.nvext is not None else None
        request.nvext = NvExt(cache_salt=salt) if salt else None
    for names, fields, most in () if nvext_off else _PINS:
        value = _integer(next((given[name] for name in names if name in given), None), 0, most)
        for field in fields if value is not None else ():
            setattr(_nvext(request), field, value)
    priority = _integer(given.get(_PRIORITY), -(1 << 31), (1 << 31) - 1)
    strict = _integer(given.get(_STRICT_PRIORITY), 0, _UNSET_RANK)
    if not nvext_off and (priority is not None or strict is not None):
        nvext = _nvext(request)
        hints = nvext.agent_hints = nvext.agent_hints or AgentHints()
        hints.priority = hints.priority if priority is None else priority
        hints.strict_priority = hints.strict_priority if strict is None else strict
    tenant = given.get(b"x-tenant-id")
    if tenant:
        _nvext(request).cache_salt = tenant.decode("latin-1")


def rank_header(exchange: Exchange) -> RankHeader | None:
    """The header that is there to name a rank, None without one."""
    name = None if exchange.plain else next((name for name in _RANK if exchange.header(name) is not None), None)
    if name is None:
        return None
    value = (exchange.header(name) or b"").strip()
    shown = value[:_SHOWN_BYTES].decode("ascii", "replace")
    return RankHeader(name.decode(), shown, _integer(value, 0, _UNSET_RANK))


def agent_context(exchange: Exchange, request: ChatRequest | CompletionRequest) -> dict[str, Any] | None:
    """The session that headers place the request in; None when they name none."""
    if exchange.plain:
        return None
    given = {
        name: value.strip().decode("ascii")
        for name, value in reversed(exchange.headers())
        if value.isascii() and value.strip()
    }
    session, parent = _session(given)
    if session is None:
        return None
    found: dict[str, Any] = {"session_id": session}
    if parent is not None:
        found["parent_session_id"] = parent
    final = _TRUTH.get(given.get(b"x-dynamo-session-final", "").lower().encode())
    if final is not None:
        found["session_final"] = final
    listed = {name.decode(): [given[name]] for name in _LISTED if name in given}
    if listed:
        found["agent_headers"] = listed
    last = request.messages[-1].get("role") if isinstance(request, ChatRequest) else None
    found["input_trigger"] = _TRIGGERS.get(str(last), "other")
    return found


def metadata_of(exchange: Exchange, prefix: str) -> dict[str, str] | None:
    """Headers that begin with `prefix`, the rest of the name as key; of duplicates the first wins. Raises Refusal (431)
    for too many of them.
    """
    if exchange.plain and prefix.startswith(_NEVER_COMMON):
        return None
    wanted = prefix.lower().encode()
    found: dict[str, str] = {}
    for key, value in exchange.headers():
        if key.startswith(wanted) and value.isascii():
            found.setdefault(key[len(wanted) :].decode("ascii"), value.decode("ascii").strip())
    if len(found) > _MOST_METADATA:
        raise Refusal.header_too_large(f"metadata headers exceed the limit of {_MOST_METADATA} entries")
    if sum(len(key) + len(value) for key, value in found.items()) > _MOST_METADATA_BYTES:
        raise Refusal.header_too_large(f"metadata headers exceed the limit of {_MOST_METADATA_BYTES} bytes")
    return found or None


def _session(given: dict[bytes, str]) -> tuple[str | None, str | None]:
    own, own_parent = _DYNAMO_SESSION
    if own in given:
        return given[own], given.get(own_parent)
    claude, agent, parent_agent = _CLAUDE
    if claude in given:
        if agent in given:
            return given[agent], given.get(parent_agent, given[claude])
        return given[claude], None
    for session, parent in _OTHER_SESSIONS:
        if session in given:
            return given[session], given.get(parent)
    return None, None


def _nvext(request: ChatRequest | CompletionRequest) -> NvExt:
    request.nvext = request.nvext or NvExt()
    return request.nvext


def _integer(value: bytes | None, lowest: int, highest: int) -> int | None:
    found = None if value is None else _INTEGER.match(value)
    if found is None:
        return None
    number = int(found[0])
    return number if lowest <= number <= highest and not (found[1] == b"-" and lowest == 0) else None
