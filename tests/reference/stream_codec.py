"""The plain-Python statement of `dynamo_fe._cext.stream_codec`: the same values and the same refusals, no speed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

HEADER_LIMIT = 1 << 20
FINAL = "FINAL"
FINISH_REASONS = ("stop", "length", "eos", "cancelled", "content_filter", "abort")
NULL_ONLY = (
    "tokens", "text", "log_probs", "top_logprobs", "stop_reason", "content_parts", "disaggregated_params",
    "encoder_result", "worker_trace_link", "extra_args", "routing_data", "jailed_text", "engine_data",
)  # fmt: skip


class BadFrame(ValueError):
    def __init__(self, reason: str, items: list[Any]) -> None:
        super().__init__(reason)
        self.items = items


@dataclass
class OutputItem:
    token_ids: list[int]
    finish_reason: str | None = None
    index: int = 0
    usage: bytes | None = None
    raw: bytes | None = None


class NotQuick(Exception):
    """The bytes are not of the simple kind: the typed decoder has to look at them."""


class Cut(Exception):
    """A MessagePack value is cut or malformed."""


class Walker:
    """Reads MessagePack values out of `data`, which must end with them."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise Cut
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def peek(self) -> int:
        if self.at >= len(self.data):
            raise Cut
        return self.data[self.at]

    def skip(self) -> bytes:
        start, wanted = self.at, 1
        while wanted:
            if wanted > len(self.data) - self.at:
                raise Cut
            code = self.number(1)
            wanted += self.values_inside(code) - 1
        return self.data[start : self.at]

    def values_inside(self, code: int) -> int:
        if code < 0x80 or code >= 0xE0 or code in (0xC0, 0xC2, 0xC3):
            return 0
        if code < 0x90:
            return 2 * (code & 15)
        if code < 0xA0:
            return code & 15
        if code < 0xC0:
            self.take(code & 31)
        elif code == 0xC1:
            raise Cut
        elif code in (0xC4, 0xC5, 0xC6):
            self.take(self.number(1 << (code - 0xC4)))
        elif code in (0xC7, 0xC8, 0xC9):
            self.take(1 + self.number(1 << (code - 0xC7)))
        elif code in (0xCA, 0xCB):
            self.take(4 << (code - 0xCA))
        elif code <= 0xD3:
            self.take(1 << (code & 3))
        elif code <= 0xD8:
            self.take(1 + (1 << (code - 0xD4)))
        elif code <= 0xDB:
            self.take(self.number(1 << (code - 0xD9)))
        else:
            return self.number(2 << (code & 1)) * (1 if code <= 0xDD else 2)
        return 0

    def map_head(self) -> int:
        code = self.number(1)
        if code & 0xF0 == 0x80:
            return code & 15
        if code not in (0xDE, 0xDF):
            raise NotQuick
        return self.number(2 if code == 0xDE else 4)

    def str_bytes(self) -> bytes:
        code = self.number(1)
        if code & 0xE0 == 0xA0:
            return self.take(code & 31)
        if code not in (0xD9, 0xDA, 0xDB):
            raise NotQuick
        return self.take(self.number(1 << (code - 0xD9)))

    def u32(self) -> int:
        code = self.number(1)
        if code < 0x80:
            return code
        if not 0xCC <= code <= 0xD3:
            raise NotQuick
        value = int.from_bytes(self.take(1 << (code & 3)), signed=code >= 0xD0)
        if not 0 <= value <= 0xFFFFFFFF:
            raise NotQuick
        return value

    def u32_list(self) -> list[int]:
        code = self.number(1)
        if code & 0xF0 == 0x90:
            count = code & 15
        elif code in (0xDC, 0xDD):
            count = self.number(2 if code == 0xDC else 4)
        else:
            raise NotQuick
        if count > len(self.data) - self.at:
            raise Cut
        return [self.u32() for _ in range(count)]


def quick_item(walker: Walker) -> OutputItem:
    item = OutputItem([])
    seen: set[bytes] = set()
    for _ in range(walker.map_head()):
        key = walker.str_bytes()
        name = key.decode("latin-1")
        known = name in NULL_ONLY or name in (
            "token_ids", "output_type", "cum_log_probs", "finish_reason", "index", "completion_usage",
        )  # fmt: skip
        if not known:
            walker.skip()
            continue
        if key in seen:
            raise NotQuick
        seen.add(key)
        if name == "token_ids":
            item.token_ids = walker.u32_list()
        elif walker.peek() == 0xC0:
            walker.take(1)
        else:
            quick_field(walker, name, item)
    if b"token_ids" not in seen:
        raise NotQuick
    return item


def quick_field(walker: Walker, name: str, item: OutputItem) -> None:
    code = walker.peek()
    if name == "index":
        item.index = walker.u32()
    elif name == "completion_usage":
        if not (code & 0xF0 == 0x80 or code in (0xDE, 0xDF)):
            raise NotQuick
        item.usage = walker.skip()
    elif name == "cum_log_probs":
        if not (code < 0x80 or code >= 0xE0 or 0xCA <= code <= 0xD3):
            raise NotQuick
        walker.skip()
    elif name == "output_type":
        if walker.str_bytes() != b"text":
            raise NotQuick
    elif name == "finish_reason":
        value = walker.str_bytes()
        if value not in [reason.encode() for reason in FINISH_REASONS]:
            raise NotQuick
        item.finish_reason = value.decode()
    else:
        raise NotQuick


def quick_envelope(walker: Walker) -> OutputItem:
    item: OutputItem | None = None
    seen: set[bytes] = set()
    for _ in range(walker.map_head()):
        key = walker.str_bytes()
        if key not in (b"data", b"id", b"event", b"comment", b"error"):
            walker.skip()
            continue
        if key in seen:
            raise NotQuick
        seen.add(key)
        if key == b"data":
            item = quick_item(walker)
        elif walker.number(1) != 0xC0:
            raise NotQuick
    if item is None:
        raise NotQuick
    return item


def closing(final: bool | None, item: OutputItem | None) -> list[Any]:
    if final is None:
        raise BadFrame("data frame without complete_final", [])
    if item is None and not final:
        raise BadFrame("data frame with neither data nor final marker", [])
    return ([] if item is None else [item]) + ([FINAL] if final else [])


def msgpack_frame(data: bytes) -> list[Any]:
    walker = Walker(data)
    try:
        entries = walker.map_head()
    except (Cut, NotQuick):
        raise BadFrame("data frame is not a map", []) from None
    final: bool | None = None
    item: OutputItem | None = None
    data_seen = False
    for _ in range(entries):
        try:
            key = walker.str_bytes()
        except (Cut, NotQuick):
            raise BadFrame("data frame with a malformed key", []) from None
        if key == b"data":
            if data_seen:
                raise BadFrame("data frame names data twice", [])
            data_seen = True
            item = msgpack_value(walker)
        elif key == b"complete_final":
            if final is not None:
                raise BadFrame("data frame names complete_final twice", [])
            if walker.data[walker.at : walker.at + 1] not in (b"\xc2", b"\xc3"):
                raise BadFrame("complete_final is not a boolean", [])
            final = walker.number(1) == 0xC3
        else:
            skip_or_refuse(walker)
    if walker.at != len(data):
        raise BadFrame("data frame with bytes after its map", [])
    return closing(final, item)


def msgpack_value(walker: Walker) -> OutputItem | None:
    if walker.data[walker.at : walker.at + 1] == b"\xc0":
        walker.take(1)
        return None
    quick = Walker(walker.data, walker.at)
    try:
        item = quick_envelope(quick)
    except (Cut, NotQuick):
        return OutputItem([], raw=skip_or_refuse(walker))
    walker.at = quick.at
    return item


def skip_or_refuse(walker: Walker) -> bytes:
    try:
        return walker.skip()
    except Cut:
        raise BadFrame("data frame with a malformed value", []) from None


SPACE = b" \n\r\t"


def space(data: bytes, at: int) -> int:
    return len(data) - len(data[at:].lstrip(SPACE))


def string_end(data: bytes, at: int) -> int:
    if data[at : at + 1] != b'"':
        return -1
    at += 1
    while at < len(data):
        if data[at] == ord('"'):
            return at + 1
        at += 2 if data[at] == ord("\\") else 1
    return -1


def value_end(data: bytes, at: int) -> int:
    start, depth = at, 0
    while at < len(data):
        char = data[at : at + 1]
        if depth == 0 and char != b'"' and (char in b",}]" or char <= b" "):
            break
        if char == b'"':
            at = string_end(data, at)
            if at < 0:
                return -1
        else:
            at += 1
            depth += (char in b"{[") - (char in b"]}")
        if depth == 0 and char in b'"]}':
            return at
    return at if depth == 0 and at > start else -1


def json_frame(data: bytes) -> list[Any]:
    at = space(data, 0)
    if data[at : at + 1] != b"{":
        raise BadFrame("data frame is not a map", [])
    at = space(data, at + 1)
    found: dict[bytes, bytes] = {}
    while data[at : at + 1] != b"}":
        key_start, at = at, string_end(data, at)
        colon = space(data, at) if at >= 0 else len(data)
        if data[colon : colon + 1] != b":":
            raise BadFrame("data frame with a malformed key", [])
        key = data[key_start + 1 : at - 1]
        start = space(data, colon + 1)
        at = value_end(data, start)
        if at < 0:
            raise BadFrame("data frame with a malformed value", [])
        value = data[start:at]
        if key in found:
            raise BadFrame(f"data frame names {key.decode()} twice", [])
        if key == b"complete_final" and value not in (b"true", b"false"):
            raise BadFrame("complete_final is not a boolean", [])
        if key in (b"data", b"complete_final"):
            found[key] = value
        at = space(data, at)
        if data[at : at + 1] == b",":
            at = space(data, at + 1)
        elif data[at : at + 1] != b"}":
            raise BadFrame("data frame with a malformed value", [])
    if space(data, at + 1) != len(data):
        raise BadFrame("data frame with bytes after its map", [])
    value = found.get(b"data", b"null")
    final = found[b"complete_final"] == b"true" if b"complete_final" in found else None
    return closing(final, None if value == b"null" else OutputItem([], raw=value))


class Decoder:
    """Keeps everything that is not a whole frame yet and looks again at each feed."""

    def __init__(self) -> None:
        self.pending = b""
        self.failure: str | None = None

    def frame(self, data: bytes) -> tuple[int, list[Any]] | None:
        """(bytes used, values) of the first frame, None if it is cut."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[Any]:
        if self.failure is not None:
            raise BadFrame(self.failure, [])
        self.pending += data
        out: list[Any] = []
        try:
            while (found := self.frame(self.pending)) is not None:
                self.pending = self.pending[found[0] :]
                out += found[1]
        except BadFrame as error:
            self.failure = str(error)
            raise BadFrame(self.failure, out) from None
        return out


class ResponseDecoder(Decoder):
    def __init__(self, codec: str, max_frame_bytes: int) -> None:
        super().__init__()
        self.read = {"json": json_frame, "msgpack": msgpack_frame}[codec]
        self.max_frame_bytes = max_frame_bytes
        self.greeted = self.streaming = self.sealed = False

    def frame(self, data: bytes) -> tuple[int, list[Any]] | None:
        if len(data) < 24:
            return None
        header, size, _ = struct.unpack_from(">QQQ", data)
        if header > HEADER_LIMIT:
            raise BadFrame(f"header part of {header} bytes is over the limit of {HEADER_LIMIT}", [])
        if size > self.max_frame_bytes:
            raise BadFrame(f"data part of {size} bytes is over the limit of {self.max_frame_bytes}", [])
        if bool(header) == bool(size):
            raise BadFrame("frame is neither a control nor a data frame", [])
        if size and not self.greeted:
            raise BadFrame("data frame before any control frame", [])
        if size and self.sealed:
            raise BadFrame("data frame after the end of the stream", [])
        end = 24 + header + size
        if len(data) < end:
            return None
        if header:
            self.greeted = True
            self.sealed = self.streaming
            return end, [data[24:end]]
        values = self.read(data[24:end])
        self.streaming = True
        self.sealed = values[-1] == FINAL
        return end, values


class AckDecoder(Decoder):
    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def frame(self, data: bytes) -> tuple[int, list[Any]] | None:
        if len(data) < 4:
            return None
        size = int.from_bytes(data[:4])
        if size > self.max_bytes:
            raise BadFrame(f"acknowledgement of {size} bytes is over the limit of {self.max_bytes}", [])
        return None if len(data) < 4 + size else (4 + size, [data[4 : 4 + size]])


class RequestDecoder(Decoder):
    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def frame(self, data: bytes) -> tuple[int, list[Any]] | None:
        walker = Walker(data)
        try:
            path = walker.take(walker.number(2))
            headers = walker.take(walker.number(2))
            size = walker.number(4)
            total = walker.at + size
            if total > self.max_bytes:
                raise BadFrame(f"message too large: {total} bytes (max: {self.max_bytes} bytes)", [])
            payload = walker.take(size)
        except Cut:
            return None
        return total, [(path, headers, *split_payload(payload))]


def split_payload(payload: bytes) -> tuple[bytes, bytes]:
    if len(payload) >= 24:
        control, body, _ = struct.unpack_from(">QQQ", payload)
        if control and 24 + control + body == len(payload):
            return payload[24 : 24 + control], payload[24 + control :]
    return b"", payload


def two_part(header: bytes, data: bytes) -> bytes:
    return struct.pack(">QQQ", len(header), len(data), 0) + header + data


def request_frame(path: bytes, headers: bytes, control: bytes, body: bytes) -> bytes:
    payload = two_part(control, body)
    parts = [len(path).to_bytes(2), path, len(headers).to_bytes(2), headers, len(payload).to_bytes(4), payload]
    return b"".join(parts)
