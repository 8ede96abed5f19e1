"""Reading what a frontend sends: the control message and the body of a token-in request (Dynamo 1.6.1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Codec = Literal["msgpack", "json"]
TokenId = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class CallBack(msgspec.Struct, frozen=True):
    """Where the answer goes: the frontend's listener, and the name of the stream there."""

    request_id: str
    host: str
    port: int
    subject: str
    codec: Codec


class StopConditions(msgspec.Struct):
    """The members that this worker heeds; stop strings are the frontend's work."""

    max_tokens: Count | None = None
    min_tokens: Count | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[TokenId] | None = None
    stop_token_ids_hidden: list[TokenId] | None = None


class SamplingOptions(msgspec.Struct):
    """`n` choices; a `seed` picks another passage."""

    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    seed: int | None = None


class Routing(msgspec.Struct):
    """`dp_rank`: the rank that the frontend chose."""

    dp_rank: Count | None = None


class TokenRequest(msgspec.Struct):
    """The body. Everything but the prompt may be missing; unknown members are ignored."""

    token_ids: list[TokenId]
    stop_conditions: StopConditions = msgspec.field(default_factory=StopConditions)
    sampling_options: SamplingOptions = msgspec.field(default_factory=SamplingOptions)
    eos_token_ids: list[TokenId] = []
    routing: Routing | None = None


class UnreadableRequest(ValueError):
    """The request cannot be served. `call_back` is set when the frontend can at least be told."""

    def __init__(self, reason: str, call_back: CallBack | None = None) -> None:
        super().__init__(reason)
        self.call_back = call_back


class _ConnectionInfo(msgspec.Struct):
    transport: str
    info: str


class _Control(msgspec.Struct):
    id: str
    connection_info: _ConnectionInfo
    request_type: str = "single_in"
    payload_codec: str = "json"


class _Info(msgspec.Struct):
    address: str
    subject: str
    context: str | None = None
    stream_type: str = "response"


_control = msgspec.json.Decoder(_Control)
_info = msgspec.json.Decoder(_Info)
_msgpack_body = msgspec.msgpack.Decoder(TokenRequest)
_json_body = msgspec.json.Decoder(TokenRequest)


def read_request(control: bytes, body: bytes) -> tuple[CallBack, TokenRequest]:
    """Decodes both parts of a request. Raises `UnreadableRequest`."""
    call_back = read_call_back(control)
    decoder: Any = _msgpack_body if call_back.codec == "msgpack" else _json_body
    try:
        return call_back, decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRequest(f"the body is not a token request in {call_back.codec}: {error}", call_back) from None


def read_call_back(control: bytes) -> CallBack:
    """Where the answer goes. Raises `UnreadableRequest`."""
    call_back, objection = _read_control(control)
    if objection is not None:
        raise UnreadableRequest(objection, call_back)
    return call_back


def _read_control(raw: bytes) -> tuple[CallBack, str | None]:
    """The call-back, and what speaks against serving it. Raises `UnreadableRequest` if there is no address to tell."""
    try:
        control = _control.decode(raw)
        if control.connection_info.transport != "tcp_server":
            raise UnreadableRequest(f"response transport {control.connection_info.transport!r} is not known")
        info = _info.decode(control.connection_info.info)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRequest(f"the control message cannot be read: {error}") from None
    host, _, port = info.address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UnreadableRequest(f"the call-back address {info.address!r} is not HOST:PORT")
    objection = _objection(control, info)
    codec: Codec = "msgpack" if control.payload_codec == "msgpack" else "json"
    return CallBack(control.id, host.removeprefix("[").removesuffix("]"), int(port), info.subject, codec), objection


def _objection(control: _Control, info: _Info) -> str | None:
    if control.payload_codec not in ("msgpack", "json"):
        return f"payload_codec {control.payload_codec!r} is not known"
    if control.request_type != "single_in":
        return f"request_type {control.request_type!r} is not served here"
    if info.stream_type != "response":
        return f"stream_type {info.stream_type!r} is not served here"
    if info.context is not None and info.context != control.id:
        return "the call-back belongs to another request: context and id differ"
    return None
