"""From the items of a text-in worker to the chunks it made: nothing is decoded, cut or counted here."""

from __future__ import annotations

from typing import Any

import msgspec

from dynamo_fe._cext.stream_codec import OutputItem
from dynamo_fe.pipeline.delta import DeltaSink, TextDelta, Usage
from dynamo_fe.pipeline.whole_items import WholeItems
from dynamo_fe.protocol.errors import RequestError
from dynamo_fe.protocol.text_worker import TextChunk, read_chunk, read_envelope
from dynamo_fe.protocol.worker import CompletionUsage, decode_value_envelope


class TextDelivery(WholeItems):
    """The stream of a worker that answers OpenAI chunks: those of chat, or those of completions."""

    __slots__ = ("_chat", "_finished", "_reported")

    def __init__(self, chat: bool, sink: DeltaSink) -> None:
        super().__init__(sink)
        self._chat = chat
        self._finished = False
        self._reported: CompletionUsage | None = None

    @property
    def answered(self) -> bool:
        """Whether a finish reason has come."""
        return self._finished

    def usage(self) -> Usage:
        reported = self._reported
        prompt, completion = (0, 0) if reported is None else (reported.prompt_tokens, reported.completion_tokens)
        return Usage(prompt, completion, self._finished, reported)

    def _read(self, item: OutputItem, first: bool) -> TextDelta | None:
        chunk = self._chunk(item, first)
        if chunk is None:
            return None
        self._reported = chunk.usage or self._reported
        self._finished = self._finished or any(choice.finish_reason for choice in chunk.choices)
        return TextDelta(0, "", None, 0, [], chunk=chunk)

    def _chunk(self, item: OutputItem, first: bool) -> TextChunk | None:
        """Raises RequestError for an error item, and for one that is no chunk."""
        if item.raw is None:
            raise RequestError.protocol_error("an item of tokens from a worker of text")
        try:
            envelope = read_envelope(item.raw, self.codec, self._chat)
        except msgspec.MsgspecError:
            return self._read_slowly(item.raw, first)
        if envelope.event == "error":
            raise RequestError.from_wire(envelope.error, first)
        return envelope.data

    def _read_slowly(self, raw: bytes, first: bool) -> TextChunk | None:
        """The same of a frame that holds something else; says what is wrong with it."""
        try:
            envelope = decode_value_envelope(raw, self.codec)
            if envelope.event == "error":
                raise RequestError.from_wire(envelope.error, first)
            data: Any = envelope.data
            return None if data is None else read_chunk(data, self._chat)
        except msgspec.MsgspecError as error:
            raise RequestError.protocol_error(f"item cannot be read: {error}") from error
