"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from typing import Any

from dynamo_fe.http import generation, inference
from dynamo_fe.http.chat_shape import ChatAnswer, ChatChunks
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.meter import Meter
from dynamo_fe.http.services import Services
from dynamo_fe.http.shape import counts
from dynamo_fe.http.validation import check_chat
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.protocol.openai import ChatRequest


class ChatReply:
    """The shapes of one chat answer."""

    def __init__(self, request: ChatRequest, prepared: Prepared, request_id: str, usage_everywhere: bool) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created_secs = int(time.time())
        self._model = prepared.model.name
        self._tokenizer = tokenizer_of(prepared.model)
        self._as_ids = inference.as_token_ids(request)
        self._prepared = prepared
        self._usage_everywhere = usage_everywhere

    def chunks(self, index: int, prepared: Prepared) -> ChatChunks:
        """For the stream."""
        running_usage = self._running_usage if self._usage_everywhere else None
        return ChatChunks(self._id, self._created_secs, self._model, self._tokenizer, self._as_ids, running_usage)

    def closing(self) -> ChatChunks:
        """For the chunk with the usage."""
        return self.chunks(0, self._prepared)

    def answer(self, index: int, prepared: Prepared) -> ChatAnswer:
        """Collects the answer."""
        return ChatAnswer(self._tokenizer, self._as_ids)

    def body(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The folded answer; a worker that said nothing leaves it without name, as in the original."""
        out = {
            "id": self._id if choices else "",
            "choices": choices,
            "created": self._created_secs,
            "model": self._model if choices else "",
            "object": "chat.completion",
        }
        if usage is not None:
            out["usage"] = usage
        return out

    def _running_usage(self, completion_tokens: int) -> dict[str, Any]:
        return counts(self._prepared.prompt_tokens, completion_tokens)


async def chat_completions(exchange: Exchange, services: Services) -> None:
    """The handler."""

    async def answer(request: ChatRequest, model: ServedModel, meter: Meter) -> None:
        prepared = await services.preparer.chat(request, model)
        request_id = inference.request_id_of(exchange, services.ids)
        include_usage, everywhere = inference.usage_wanted(request, services.settings.force_include_usage)
        job = generation.Generation(
            model=request.model,
            prepared=[prepared],
            request_ids=[request_id],
            metadata=inference.metadata_of(exchange, services.settings.metadata_header),
            keep_null_details=False,
            rich=everywhere,
            include_usage=include_usage,
        )
        reply = ChatReply(request, prepared, request_id, everywhere)
        way = generation.stream if request.stream else generation.fold
        await way(exchange, services, job, meter, reply)

    await inference.serve(exchange, services, ChatRequest, "chat_completions", check_chat, answer)
