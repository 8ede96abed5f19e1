"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from typing import Any

from dynamo_fe.config.settings import Settings
from dynamo_fe.http import generation, inference, text
from dynamo_fe.http.chat_shape import ChatAnswer, ChatChunks
from dynamo_fe.http.dispatch_events import DispatchEvents, dispatches_of
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.extras import Extras, annotation_frames, extras_of, nvext_of
from dynamo_fe.http.request_headers import agent_context, rank_header
from dynamo_fe.http.services import Services
from dynamo_fe.http.token_names import TokenNames
from dynamo_fe.http.validation import check_chat
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.pipeline.next_turn import is_wanted, text_of
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.protocol.openai import ChatRequest


class ChatReply:
    """The shapes of one chat answer."""

    def __init__(
        self,
        request: ChatRequest,
        prepared: Prepared,
        request_id: str,
        extras: list[Extras] | None,
        settings: Settings,
    ) -> None:
        self._id = f"chatcmpl-{request_id}"
        self._created_secs = int(time.time())
        self._model = prepared.model.name
        self._names = TokenNames(tokenizer_of(prepared.model), request)
        self._extras = extras
        self._prompt_wanted = request.prompt_logprobs is not None
        self._settings = settings
        self._answer: ChatAnswer | None = None

    def chunks(self, index: int, prepared: Prepared) -> ChatChunks:
        """For the stream."""
        extras = None if self._extras is None else self._extras[index]
        return self._chunks(extras, dispatches_of(self._settings))

    def closing(self) -> ChatChunks:
        """For the chunk with the usage."""
        return self._chunks(None, None)

    def answer(self, index: int, prepared: Prepared) -> ChatAnswer:
        """Collects the answer."""
        extras = None if self._extras is None else self._extras[index]
        field = self._settings.reasoning_field_name
        self._answer = ChatAnswer(self._names, extras, self._prompt_wanted, field)
        return self._answer

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
        out |= nvext_of(self._extras)
        if self._answer is not None and self._answer.prompt_logprobs is not None:
            out["prompt_logprobs"] = self._answer.prompt_logprobs
        return out

    def _chunks(self, extras: Extras | None, dispatches: DispatchEvents | None) -> ChatChunks:
        field = self._settings.reasoning_field_name
        return ChatChunks(self._id, self._created_secs, self._model, self._names, extras, field, dispatches)


async def chat_completions(exchange: Exchange, services: Services) -> None:
    """The handler."""

    async def answer(request: ChatRequest, model: ServedModel, meter: Meter) -> None:
        if text.takes_text(model):
            await text.answer_text(exchange, services, request, model, meter)
            return
        prepared = await services.preparer.chat(request, model)
        prepared.place(agent_context(exchange, request))
        prepared.rank_header = rank_header(exchange)
        request_id = exchange.request_id
        include_usage, everywhere = inference.usage_wanted(request, services.settings.force_include_usage)
        job = generation.Generation(
            model=request.model,
            prepared=[prepared],
            request_ids=[request_id],
            metadata=exchange.metadata,
            keep_null_details=False,
            rich=everywhere,
            include_usage=include_usage,
            extras=extras_of(request.nvext, [prepared], meter.started),
        )
        if request.stream:
            job.before_first = annotation_frames(request.nvext, [prepared], request_id, chat=True)
        reply = ChatReply(request, prepared, request_id, job.extras, services.settings)
        way = generation.stream if request.stream else generation.fold
        if not is_wanted(request):
            await way(exchange, services, job, meter, reply)
            return
        said: list[str] = []
        job.heard = lambda pieces: said.append(text_of(pieces))
        await way(exchange, services, job, meter, reply)
        if meter.whole and not services.draining:
            services.next_turns.expect(request, model, "".join(said))

    await inference.serve(exchange, services, ChatRequest, "chat_completions", check_chat, answer)
