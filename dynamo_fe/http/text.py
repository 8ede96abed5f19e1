"""Requests to text-in models: the worker renders, tokenizes and answers in OpenAI's own chunks."""

from __future__ import annotations

from typing import Final

import orjson

from dynamo_fe.http import generation, inference
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.services import Services
from dynamo_fe.http.text_shape import TextReply
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.pipeline.text_request import split_prompts, text_prepared
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest

_REQUEST_ID: Final = "request_id"


def takes_text(model: ServedModel) -> bool:
    """Whether the model's workers want the client's request itself."""
    return model.card.model_input == "Text"


async def answer_text(
    exchange: Exchange, services: Services, request: ChatRequest | CompletionRequest, model: ServedModel, meter: Meter
) -> None:
    """Answers a validated request; its model is one that `takes_text`."""
    chat = isinstance(request, ChatRequest)
    prompts = [None] if isinstance(request, ChatRequest) else split_prompts(request)
    request_id = exchange.request_id
    wanted = (request.nvext.annotations if request.nvext is not None else None) or []
    job = generation.Generation(
        model=request.model,
        prepared=[text_prepared(request, prompt, model) for prompt in prompts],
        request_ids=inference.part_ids(request_id, len(prompts)),
        metadata=exchange.metadata,
        keep_null_details=False,
        rich=False,
        include_usage=False,
    )
    reply = TextReply(chat, request.n or 1, isinstance(request, ChatRequest) and bool(request.tools))
    if request.stream:
        if _REQUEST_ID in wanted:
            job.before_first = [b"event: request_id\n: " + orjson.dumps(request_id) + b"\n\n"]
        await generation.stream(exchange, services, job, meter, reply)
    else:
        await generation.fold(exchange, services, job, meter, reply)
