"""From a validated request to what a worker is sent: template, tokens, options."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from dynamo_fe.models.errors import TemplateError
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline import options
from dynamo_fe.pipeline.messages import Style, template_messages, template_tools
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest
from dynamo_fe.protocol.worker_request import WorkerRequest


@dataclass(slots=True)
class Prepared:
    """A request ready for any worker of its model.

    `prompt_tokens` is our own count; a worker may report another one. `formatted_prompt` is the prompt as text, None
    when the client gave tokens.
    """

    model: ServedModel
    body: WorkerRequest
    prompt_tokens: int
    choices: int
    formatted_prompt: str | None


class Preparer:
    """Renders and tokenizes. One object a process."""

    def __init__(self, metrics: FrontendMetrics, enforce_context_length: bool, hide_tools_when_none: bool) -> None:
        self._template_seconds = metrics.template.labels()
        self._tokenize_seconds = metrics.tokenize.labels()
        self._enforce_context_length = enforce_context_length
        self._hide_tools_when_none = hide_tools_when_none

    async def chat(self, request: ChatRequest, model: ServedModel) -> Prepared:
        """Raises Refusal for messages or a template that cannot be rendered, and for a prompt over the context
        length.
        """
        text: str | None = None
        token_in = request.nvext is not None and request.nvext.token_data is not None
        if token_in:
            assert request.nvext is not None and request.nvext.token_data is not None
            token_ids = request.nvext.token_data
        else:
            text = self._render(request, model)
            token_ids = await self._encode(text, model)
        return self._prepared(request, model, token_ids, text, token_in)

    async def completion(self, request: CompletionRequest, prompt: str | list[int], model: ServedModel) -> Prepared:
        """`prompt` is one element of the request's prompts. Raises Refusal like `chat`."""
        if request.nvext is not None and request.nvext.token_data is not None:
            return self._prepared(request, model, request.nvext.token_data, None, True)
        if isinstance(prompt, str):
            return self._prepared(request, model, await self._encode(prompt, model), prompt, False)
        return self._prepared(request, model, prompt, None, False)

    def _render(self, request: ChatRequest, model: ServedModel) -> str:
        template = model.template
        if template is None:
            raise Refusal.invalid(f"Model `{model.name}` has no chat template", param="model")
        started = time.perf_counter()
        style = Style(template.mentions_reasoning, template.content_kind == "openai", template.keeps_argument_strings)
        messages = template_messages(request.messages, style)
        tools = request.tools
        if request.tool_choice == "none" and self._hide_tools_when_none:
            tools = None
        generation_prompt = request.add_generation_prompt is not False and not request.continue_final_message
        try:
            text = template.render(messages, template_tools(tools), generation_prompt, _variables(request))
        except TemplateError as error:
            raise Refusal.invalid(str(error), param="messages") from error
        if request.continue_final_message:
            text = _cut_after_last(text, messages)
        self._template_seconds.observe(time.perf_counter() - started)
        return text

    async def _encode(self, text: str, model: ServedModel) -> list[int]:
        started = time.perf_counter()
        token_ids = await tokenizer_of(model).encode(text)
        self._tokenize_seconds.observe(time.perf_counter() - started)
        return token_ids

    def _prepared(
        self,
        request: ChatRequest | CompletionRequest,
        model: ServedModel,
        token_ids: list[int],
        text: str | None,
        token_in: bool,
    ) -> Prepared:
        self._check_length(request, model, len(token_ids))
        nvext = request.nvext
        structured = isinstance(request, ChatRequest) and (request.response_format or {}).get("type") in _STRUCTURED
        body = WorkerRequest(
            model=model.name,
            token_ids=token_ids,
            stop_conditions=options.stop_conditions(request, model.eos_token_ids),
            sampling_options=options.sampling_options(request),
            output_options=options.output_options(request),
            eos_token_ids=[] if request.ignore_eos else model.eos_token_ids,
            mdc_sum=model.mdc_sum,
            annotations=(nvext.annotations if nvext is not None else None) or [],
            routing=options.routing(request),
            extra_args=options.extra_args(request, token_in),
            require_reasoning=True if structured and model.card.runtime_config.reasoning_parser else UNSET,
            router=UNSET if nvext is None or nvext.router is None else nvext.router,
            request_timestamp_ms=UNSET
            if nvext is None or nvext.request_timestamp_ms is None
            else nvext.request_timestamp_ms,
        )
        return Prepared(model, body, len(token_ids), request.n or 1, text)

    def _check_length(self, request: ChatRequest | CompletionRequest, model: ServedModel, prompt_tokens: int) -> None:
        limit = model.context_length
        if self._enforce_context_length and limit and prompt_tokens > limit:
            raise Refusal.invalid(
                f"This model's maximum context length is {limit} tokens, but the prompt has {prompt_tokens} tokens.",
                param="messages" if isinstance(request, ChatRequest) else "prompt",
                code="context_length_exceeded",
            )


_STRUCTURED = ("json_object", "json_schema")


def tokenizer_of(model: ServedModel) -> TextTokenizer:
    """The model's tokenizer; a model without one is refused when it is loaded, for requests of this pipeline."""
    if model.tokenizer is None:
        raise Refusal.invalid(f"Model `{model.name}` has no tokenizer", param="model")
    return model.tokenizer


def _variables(request: ChatRequest) -> dict[str, Any]:
    """What stands at the template's top level beside messages and tools: the caller's arguments and the thinking
    switches.
    """
    variables = dict(request.chat_template_args or request.chat_template_kwargs or {})
    effort = request.reasoning_effort
    switch: bool | None = None
    if effort is not None:
        variables["reasoning_effort"] = effort
        switch = effort != "none"
    elif isinstance(request.thinking, bool):
        switch = request.thinking
    elif isinstance(request.thinking, dict):
        switch = request.thinking.get("type") != "disabled"
    if switch is not None:
        variables.setdefault("enable_thinking", switch)
        variables.setdefault("thinking", switch)
        variables.setdefault("thinking_mode", "enabled" if switch else "disabled")
    return variables


def _cut_after_last(text: str, messages: list[dict[str, Any]]) -> str:
    """The rendering up to the end of the last message's content, which the model is to continue."""
    content = messages[-1].get("content") or ""
    last = content if isinstance(content, str) else content[-1]["text"]
    at = text.rfind(last.strip()) if last else -1
    return text if at < 0 else text[: at + len(last.strip())]
