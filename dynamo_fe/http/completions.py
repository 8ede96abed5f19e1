"""`POST /v1/completions`."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from dynamo_fe.http import generation, inference, text
from dynamo_fe.http.completion_shape import CompletionAnswer, CompletionChunks
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.extras import Extras, annotation_frames, extras_of, nvext_of
from dynamo_fe.http.request_headers import agent_context, rank_header
from dynamo_fe.http.services import Services
from dynamo_fe.http.token_names import TokenNames
from dynamo_fe.http.validation import check_completion, count_prompts
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.meter import Meter
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.pipeline.token_ids import check_prompt_ids
from dynamo_fe.protocol.openai import CompletionRequest

Prompt = str | list[int]


class CompletionReply:
    """The shapes of one completions answer. `prompts[i]` belongs to worker request i, whose choices are numbered on."""

    def __init__(
        self,
        request: CompletionRequest,
        model: ServedModel,
        prompts: list[Prompt],
        request_id: str,
        job: generation.Generation,
    ) -> None:
        self._id = f"cmpl-{request_id}"
        self._created_secs = int(time.time())
        self._model = model.name
        self._names = TokenNames(tokenizer_of(model), request)
        self._echo = request.echo is True
        self._prompts = prompts
        self._choices_per_prompt = request.n or 1
        self._extras = job.extras

    def chunks(self, index: int, prepared: Prepared) -> CompletionChunks:
        """For the stream of one prompt."""

        part_id = self._id if len(self._prompts) == 1 else f"{self._id}-{index}"
        extras = None if self._extras is None else self._extras[index]
        return self._chunks(part_id, self._first_index(index), extras)

    def closing(self) -> CompletionChunks:
        """For the chunk with the usage, which has the bare id."""
        return self._chunks(self._id, 0, None)

    def answer(self, index: int, prepared: Prepared) -> CompletionAnswer:
        """Collects the choices of one prompt."""
        extras = None if self._extras is None else self._extras[index]
        return CompletionAnswer(self._names, self._first_index(index), self._echoed(index), extras)

    def body(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The folded answer; workers that said nothing leave it without name, as in the original."""
        # the bare id comes with the usage in the original: without one the last prompt's own is left
        last = self._id if usage is not None or len(self._prompts) == 1 else f"{self._id}-{len(self._prompts) - 1}"
        out = {
            "id": last if choices else "",
            "choices": choices,
            "created": self._created_secs,
            "model": self._model if choices else "",
            "system_fingerprint": None,
            "object": "text_completion",
            "usage": usage,
        }
        return out | nvext_of(self._extras)

    def echoes(self, prepared: list[Prepared]) -> list[bytes]:
        """The frames with the prompts that `echo` puts in front of a stream."""
        parts = [(index, part, self._echoed(index)) for index, part in enumerate(prepared)]
        return [self.chunks(index, part).frames([text]) for index, part, text in parts if text]

    def _echoed(self, index: int) -> str:
        prompt = self._prompts[index]
        return prompt if self._echo and isinstance(prompt, str) else ""

    def _first_index(self, index: int) -> int:
        return index * self._choices_per_prompt

    def _chunks(self, part_id: str, first_index: int, extras: Extras | None) -> CompletionChunks:
        return CompletionChunks(part_id, self._created_secs, self._model, self._names, first_index, extras)


async def completions(exchange: Exchange, services: Services) -> None:
    """The handler."""

    async def answer(request: CompletionRequest, model: ServedModel, meter: Meter) -> None:
        if text.takes_text(model):
            await text.answer_text(exchange, services, request, model, meter)
            return
        vocabulary = tokenizer_of(model).vocab_size
        if request.prompt_embeds is not None:
            prompts: list[Prompt] = [[] for _ in range(count_prompts(request.prompt))]
            prepared = [services.preparer.embedded(request, model) for _ in prompts]
        else:
            prompts = prompts_of(request, vocabulary)
            prepared = [await services.preparer.completion(request, prompt, model) for prompt in prompts]
        context, named_rank = agent_context(exchange, request), rank_header(exchange)
        for part in prepared:
            part.place(context)
            part.rank_header = named_rank
        request_id = exchange.request_id
        include_usage, everywhere = inference.usage_wanted(request, services.settings.force_include_usage)
        job = generation.Generation(
            model=request.model,
            prepared=prepared,
            request_ids=inference.part_ids(request_id, len(prompts)),
            metadata=exchange.metadata,
            keep_null_details=True,
            rich=everywhere,
            include_usage=include_usage,
            extras=extras_of(request.nvext, prepared, meter.started),
        )
        reply = CompletionReply(request, model, prompts, request_id, job)
        if request.stream:
            told = annotation_frames(request.nvext, prepared, request_id, chat=False)
            job.before_first = told + reply.echoes(prepared)
            await generation.stream(exchange, services, job, meter, reply)
        else:
            await generation.fold(exchange, services, job, meter, reply)

    await inference.serve(exchange, services, CompletionRequest, "completions", check_completion, answer)


def prompts_of(request: CompletionRequest, vocab_size: int) -> list[Prompt]:
    """The prompts of a validated request: text, or token ids. Raises Refusal for ids beyond the vocabulary."""
    prompt = request.prompt
    assert prompt is not msgspec.UNSET
    if isinstance(prompt, str):
        return [prompt]
    numbers = [entry for entry in prompt if isinstance(entry, int)]
    parts: list[Prompt] = [entry for entry in prompt if not isinstance(entry, int)]
    if numbers:
        parts = [numbers]
    for index, part in enumerate(parts):
        if isinstance(part, list):
            check_prompt_ids("prompt" if numbers else f"prompt[{index}]", part, vocab_size, "prompt")
    return parts
