"""`POST /v1/completions`."""

from __future__ import annotations

import time
from typing import Any

from dynamo_fe.http import generation, inference
from dynamo_fe.http.completion_shape import CompletionAnswer, CompletionChunks
from dynamo_fe.http.exchange import Exchange
from dynamo_fe.http.meter import Meter
from dynamo_fe.http.services import Services
from dynamo_fe.http.shape import counts
from dynamo_fe.http.validation import check_completion
from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.prepare import Prepared, tokenizer_of
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import CompletionRequest

Prompt = str | list[int]

_NO_PROMPT = "Failed to deserialize the JSON body into the target type: "


class CompletionReply:
    """The shapes of one completions answer. `prompts[i]` belongs to worker request i, whose choices are numbered on."""

    def __init__(
        self,
        request: CompletionRequest,
        model: ServedModel,
        prompts: list[Prompt],
        request_id: str,
        usage_everywhere: bool,
    ) -> None:
        self._id = f"cmpl-{request_id}"
        self._created_secs = int(time.time())
        self._model = model.name
        self._tokenizer = tokenizer_of(model)
        self._as_ids = inference.as_token_ids(request)
        self._echo = request.echo is True
        self._prompts = prompts
        self._choices_per_prompt = request.n or 1
        self._usage_everywhere = usage_everywhere

    def chunks(self, index: int, prepared: Prepared) -> CompletionChunks:
        """For the stream of one prompt."""

        def running_usage(completion_tokens: int) -> dict[str, Any]:
            return counts(prepared.prompt_tokens, completion_tokens)

        part_id = self._id if len(self._prompts) == 1 else f"{self._id}-{index}"
        return self._chunks(part_id, running_usage if self._usage_everywhere else None, self._first_index(index))

    def closing(self) -> CompletionChunks:
        """For the chunk with the usage, which has the bare id."""
        return self._chunks(self._id, None, 0)

    def answer(self, index: int, prepared: Prepared) -> CompletionAnswer:
        """Collects the choices of one prompt."""
        return CompletionAnswer(self._tokenizer, self._as_ids, self._first_index(index), self._echoed(index))

    def body(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """The folded answer; workers that said nothing leave it without name, as in the original."""
        return {
            "id": self._id if choices else "",
            "choices": choices,
            "created": self._created_secs,
            "model": self._model if choices else "",
            "system_fingerprint": None,
            "object": "text_completion",
            "usage": usage,
        }

    def echoes(self, prepared: list[Prepared]) -> list[bytes]:
        """The frames with the prompts that `echo` puts in front of a stream."""
        parts = [(index, part, self._echoed(index)) for index, part in enumerate(prepared)]
        return [self.chunks(index, part).frames([text]) for index, part, text in parts if text]

    def _echoed(self, index: int) -> str:
        prompt = self._prompts[index]
        return prompt if self._echo and isinstance(prompt, str) else ""

    def _first_index(self, index: int) -> int:
        return index * self._choices_per_prompt

    def _chunks(self, part_id: str, running_usage: Any, first_index: int) -> CompletionChunks:
        return CompletionChunks(
            part_id, self._created_secs, self._model, self._tokenizer, self._as_ids, running_usage, first_index
        )


async def completions(exchange: Exchange, services: Services) -> None:
    """The handler."""

    async def answer(request: CompletionRequest, model: ServedModel, meter: Meter) -> None:
        if request.prompt_embeds is not None:
            raise Refusal.not_implemented("Validation: `prompt_embeds` is not supported yet.", param="prompt_embeds")
        prompts = prompts_of(request, tokenizer_of(model).vocab_size)
        prepared = [await services.preparer.completion(request, prompt, model) for prompt in prompts]
        request_id = inference.request_id_of(exchange, services.ids)
        include_usage, everywhere = inference.usage_wanted(request, services.settings.force_include_usage)
        job = generation.Generation(
            model=request.model,
            prepared=prepared,
            request_ids=_part_ids(request_id, len(prompts)),
            metadata=inference.metadata_of(exchange, services.settings.metadata_header),
            keep_null_details=True,
            rich=everywhere,
            include_usage=include_usage,
        )
        reply = CompletionReply(request, model, prompts, request_id, everywhere)
        if request.stream:
            job.before_first = reply.echoes(prepared)
            await generation.stream(exchange, services, job, meter, reply)
        else:
            await generation.fold(exchange, services, job, meter, reply)

    await inference.serve(exchange, services, CompletionRequest, "completions", check_completion, answer)


def prompts_of(request: CompletionRequest, vocab_size: int) -> list[Prompt]:
    """The prompts of a request: text, or token ids. Raises Refusal for empty ones and ids outside the vocabulary."""
    prompt = request.prompt
    if prompt is None:
        raise Refusal.invalid(f"{_NO_PROMPT}missing field `prompt`", param="prompt")
    if isinstance(prompt, str):
        return [_checked(prompt, "", vocab_size)]
    if not prompt:
        raise Refusal.invalid("Validation: Prompt string array cannot be empty", param="prompt")
    if all(isinstance(entry, int) for entry in prompt):
        return [_checked([entry for entry in prompt if isinstance(entry, int)], "", vocab_size)]
    parts = [entry for entry in prompt if not isinstance(entry, int)]
    if len(parts) != len(prompt) or len({type(part) for part in parts}) != 1:
        raise Refusal.invalid(f"{_NO_PROMPT}data did not match any variant of untagged enum Prompt", param="prompt")
    return [_checked(part, f" at index {index}", vocab_size) for index, part in enumerate(parts)]


def _checked(prompt: Prompt, where: str, vocab_size: int) -> Prompt:
    if not prompt:
        kind = "string" if isinstance(prompt, str) else "integer array"
        raise Refusal.invalid(f"Validation: Prompt {kind}{where} cannot be empty", param="prompt")
    if not isinstance(prompt, str) and not 0 <= min(prompt) <= max(prompt) < vocab_size:
        raise Refusal.invalid("Invalid request", param="prompt")
    return prompt


def _part_ids(request_id: str, count: int) -> list[str]:
    return [request_id] if count == 1 else [f"{request_id}-{index}" for index in range(count)]
