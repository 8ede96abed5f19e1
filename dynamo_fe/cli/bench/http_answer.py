"""An HTTP/1.1 answer from the bytes of its connection (RFC 9112), without a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

_MOST_HEAD_BYTES: Final = 256 << 10
# what is left of a chunk's size line and extensions, or of a trailer
_MOST_LINE_BYTES: Final = 16 << 10


class AnswerError(Exception):
    """The bytes are no HTTP answer, or end in the middle of one; the text is one line."""


class HttpAnswer:
    """Feed it bytes until `done`; the body goes to `on_body` as it comes.

    `status` is 0 until the head is there; `reusable` says whether the connection may carry another request.
    """

    def __init__(self, on_body: Callable[[bytes], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self.reusable = True
        self._on_body = on_body
        self._buffer = bytearray()
        self._left = 0
        self._state: Literal["head", "chunk size", "chunk", "chunk end", "trailer", "length", "until close"] = "head"

    def feed(self, data: bytes) -> None:
        """Raises AnswerError."""
        self._buffer += data
        while not self.done and self._step():
            pass

    def end(self) -> None:
        """The connection has ended. Raises AnswerError when the answer had not."""
        self.reusable = False
        if self._state == "until close":
            self.done = True
        if not self.done:
            raise AnswerError("the connection ended " + ("before" if self.status == 0 else "in the middle of") + " it")

    def _step(self) -> bool:
        """Takes one piece off the buffer; False when that needs more bytes."""
        match self._state:
            case "head":
                return self._take_head()
            case "chunk size":
                return self._take_size()
            case "chunk" | "length":
                return self._take_body()
            case "until close":
                self._pass_on(len(self._buffer))
                return False
            case "chunk end":
                line = self._line()
                if line:
                    raise AnswerError("a chunk is longer than it says")
                self._state = "chunk size" if line is not None else "chunk end"
                return line is not None
            case "trailer":
                line = self._line()
                self.done = line == b""
                return line is not None

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                raise AnswerError("its head has no end")
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
            raise AnswerError("it is not HTTP")
        status = int(words[1])
        if 100 <= status < 200:
            return True
        self.status = status
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self.reusable = words[0] != "HTTP/1.0" and self.headers.get("connection", "").lower() != "close"
        self._begin_body()
        return True

    def _begin_body(self) -> None:
        length = self.headers.get("content-length")
        if self.status in (204, 304):
            self.done = True
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._state = "chunk size"
        elif length is None:
            self._state = "until close"
        elif not length.isdigit():
            raise AnswerError(f"content-length: {length}")
        else:
            self._state, self._left = "length", int(length)
            self.done = self._left == 0

    def _take_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        try:
            self._left = int(line.split(b";", 1)[0], 16)
        except ValueError:
            raise AnswerError("a chunk without a size") from None
        self._state = "chunk" if self._left else "trailer"
        return True

    def _take_body(self) -> bool:
        size = min(self._left, len(self._buffer))
        self._left -= size
        self._pass_on(size)
        if self._left:
            return False
        self.done = self._state == "length"
        self._state = "chunk end"
        return True

    def _pass_on(self, size: int) -> None:
        if size:
            body = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._on_body(body)

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _MOST_LINE_BYTES:
                raise AnswerError("a line without an end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
