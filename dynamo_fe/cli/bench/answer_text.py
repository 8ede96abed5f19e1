"""What of a chat's answer a measurement needs: when there was text, how many tokens, and whether it came to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

_MOST_FRAME_BYTES: Final = 16 << 20
_MOST_ERROR_BYTES: Final = 64 << 10


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Frame(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_frame: Final = msgspec.json.Decoder(_Frame)


class TextError(Exception):
    """The answer cannot be read, or says that the request failed. `kind` is the class it is counted in."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class StreamedText:
    """The frames of a streamed answer; `on_text` is told of each that brings text."""

    def __init__(self, on_text: Callable[[], None]) -> None:
        self.frames = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._on_text = on_text
        self._buffer = b""
        self._finished = False
        self._done = False

    def feed(self, data: bytes) -> None:
        """Raises TextError."""
        *frames, self._buffer = (self._buffer + data).split(b"\n\n")
        if len(self._buffer) > _MOST_FRAME_BYTES:
            raise TextError("unreadable answer", "a frame without an end")
        for frame in frames:
            self._take(frame)

    def end(self) -> None:
        """Raises TextError when the stream has not come to its end."""
        if not self._done or not self._finished:
            raise TextError("stream cut short", f"ended after {self.frames} frames without a finish reason or [DONE]")
        self.completion_tokens = self.completion_tokens or self.frames

    def _take(self, frame: bytes) -> None:
        name, data = b"", b""
        for line in frame.split(b"\n"):
            if line.startswith(b"data:"):
                data = line[5:].strip()
            elif line.startswith(b"event:"):
                name = line[6:].strip()
        if name == b"error":
            raise TextError("error in the stream", said(data or frame))
        if data == b"[DONE]":
            self._done = True
        elif data:
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            frame = _frame.decode(data)
        except msgspec.MsgspecError as error:
            raise TextError("unreadable answer", str(error)) from None
        if frame.error is not None:
            raise TextError("error in the stream", said(data))
        if frame.usage is not None:
            self.prompt_tokens, self.completion_tokens = frame.usage.prompt_tokens, frame.usage.completion_tokens
        for choice in frame.choices:
            self._finished = self._finished or choice.finish_reason is not None
            delta = choice.delta
            if delta is not None and (delta.content or delta.reasoning_content or delta.tool_calls):
                self.frames += 1
                self._on_text()


class WholeText:
    """The answer in one piece."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._parts.append(data)

    def end(self) -> None:
        """Raises TextError."""
        try:
            frame = _frame.decode(b"".join(self._parts))
        except msgspec.MsgspecError as error:
            raise TextError("unreadable answer", str(error)) from None
        if not frame.choices:
            raise TextError("unreadable answer", "it has no choices")
        if frame.usage is not None:
            self.prompt_tokens, self.completion_tokens = frame.usage.prompt_tokens, frame.usage.completion_tokens


class Refusal:
    """The body of an answer other than 200."""

    def __init__(self) -> None:
        self._body = b""

    def feed(self, data: bytes) -> None:
        self._body = (self._body + data)[:_MOST_ERROR_BYTES]

    def text(self) -> str:
        return said(self._body)


def said(body: bytes) -> str:
    """The message of an error's body, in one line."""
    try:
        found = msgspec.json.decode(body)
        nested = found.get("error")
        message = nested.get("message") if isinstance(nested, dict) else None
        text = str(message or found.get("message") or nested or found)
    except (msgspec.MsgspecError, AttributeError):
        text = body.decode(errors="replace")
    return " ".join(text.split())[:300]
