"""From a validated request to what a worker is sent: template, tokens, options."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET

from dynamo_fe.models.errors import TemplateBoundError, TemplateError, TooManyTokens
from dynamo_fe.models.renderer import PromptRenderer
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.pipeline import options
from dynamo_fe.pipeline.guidance import Guidance, chat_guidance, completion_guidance
from dynamo_fe.pipeline.media import Media, collect_media
from dynamo_fe.pipeline.messages import Style, template_messages, template_tools, without_broken_arguments
from dynamo_fe.pipeline.parse_plan import markers_matter, parse_plan
from dynamo_fe.pipeline.pictures.routing import PictureRouter
from dynamo_fe.pipeline.rank_pin import RankHeader
from dynamo_fe.pipeline.refusal import Refusal
from dynamo_fe.pipeline.strict_messages import one_system_first, users_merged
from dynamo_fe.pipeline.thinking import engine_hints, template_variables
from dynamo_fe.pipeline.token_ids import check_token_ids
from dynamo_fe.protocol.openai import ChatRequest, CompletionRequest, NvExt
from dynamo_fe.protocol.worker_request import OutputOptions, SamplingOptions, StopConditions, WorkerRequest

# up to these a conversation renders in less than a millisecond or so
_MOST_TURNS_INLINE: Final = 64
_MOST_CHARS_INLINE: Final = 65_536


@dataclass(slots=True)
class Prepared:
    """A request ready for any worker of its model.

    `prompt_tokens` is our own count; a worker may report another one. `formatted_prompt` is the prompt as text, None
    when the client gave tokens. `parse`: what is looked for in the answers, None when nothing is. `tokenize_secs` is
    what its tokens took us, 0 where the client gave them. `picture_tokens` is what its pictures become, None where it
    has none or that is not known. `rank_header` is the header that is there to name a rank.
    """

    model: ServedModel
    body: WorkerRequest
    prompt_tokens: int
    choices: int
    formatted_prompt: str | None
    parse: ParsePlan | None = None
    tokenize_secs: float = 0.0
    picture_tokens: int | None = None
    rank_header: RankHeader | None = None

    def place(self, agent_context: dict[str, Any] | None) -> None:
        """Tells the worker which session the request belongs to."""
        if agent_context is not None:
            self.body.agent_context = agent_context
            self.body.image_cache_scope = agent_context["session_id"]


class Preparer:
    """Renders and tokenizes. One object a process. With `chooses_ranks` a rank that a request names without its worker
    is passed over, since the router chooses one. With `allow_internal_media` pictures may have addresses that point
    inside.
    """

    def __init__(
        self,
        metrics: FrontendMetrics,
        enforce_context_length: bool,
        max_prompt_tokens: int,
        hide_tools_when_none: bool,
        chooses_ranks: bool = False,
        allow_internal_media: bool = False,
    ) -> None:
        self._template_seconds = metrics.template.labels()
        self._preprocess_seconds = metrics.workers.stage.labels("preprocess")
        self._tokenize_seconds = metrics.tokenize.labels()
        self._enforce_context_length = enforce_context_length
        self._max_prompt_tokens = max_prompt_tokens
        self._hide_tools_when_none = hide_tools_when_none
        self._chooses_ranks = chooses_ranks
        self._allow_internal_media = allow_internal_media
        self._pictures = PictureRouter(allow_internal_media)
        # conversations that a thread renders
        self.rendering = 0

    async def chat(self, request: ChatRequest, model: ServedModel) -> Prepared:
        """Raises Refusal for messages or a template that cannot be rendered, and for a prompt over the context
        length.
        """
        begun = time.perf_counter()
        config = model.card.runtime_config
        variables = template_variables(
            request, config.reasoning_parser, config.runtime_data.get("default_thinking_mode")
        )
        text = await self._rendered(request, model, variables)
        given = request.nvext.token_data if request.nvext is not None else None
        token_in = given is not None
        token_ids, tokenize_secs = (given, 0.0) if given is not None else await self._encode(text, request, model)
        prompt = None if token_in else text
        guidance = chat_guidance(request, config, variables, prompt)
        plan = parse_plan(request, config, prompt)
        prepared = self._prepared(request, model, token_ids, text, token_in, guidance, markers_matter(config, plan))
        self._tokenize_seconds.observe(tokenize_secs)
        prepared.parse, prepared.tokenize_secs = plan, tokenize_secs
        if config.reasoning_parser is not None:
            _add_extra_args(prepared.body, engine_hints(config.reasoning_parser, variables, prompt))
        media = _add_media(prepared.body, request, text, self._allow_internal_media)
        if media is not None:
            prepared.picture_tokens = await self._pictures.add(prepared.body, media, model, request.mm_processor_kwargs)
        self._preprocess_seconds.observe(time.perf_counter() - begun)
        return prepared

    async def next_turn(self, request: ChatRequest, model: ServedModel, answer: str) -> Prepared:
        """The conversation of a request with its answer, for one token nobody wants. Raises Refusal like `chat`."""
        config = model.card.runtime_config
        variables = template_variables(
            request, config.reasoning_parser, config.runtime_data.get("default_thinking_mode")
        )
        said = msgspec.structs.replace(
            request,
            messages=[*request.messages, {"role": "assistant", "content": answer}],
            tools=None,
            add_generation_prompt=False,
            continue_final_message=None,
        )
        text = await self._rendered(said, model, variables)
        token_ids, _ = await self._encode(text, said, model)
        return Prepared(model, _next_turn(token_ids), len(token_ids), 1, None)

    def embedded(self, request: CompletionRequest, model: ServedModel) -> Prepared:
        """A request whose prompt is `prompt_embeds`: the worker gets no tokens."""
        prepared = self._prepared(request, model, [], None, False)
        assert request.prompt_embeds is not None
        prepared.body.prompt_embeds = request.prompt_embeds
        return prepared

    async def completion(self, request: CompletionRequest, prompt: str | list[int], model: ServedModel) -> Prepared:
        """`prompt` is one element of the request's prompts. Raises Refusal like `chat`."""
        if request.nvext is not None and request.nvext.token_data is not None:
            return self._prepared(request, model, request.nvext.token_data, None, True)
        if isinstance(prompt, str):
            token_ids, tokenize_secs = await self._encode(prompt, request, model)
            prepared = self._prepared(request, model, token_ids, prompt, False)
            prepared.tokenize_secs = tokenize_secs
            return prepared
        return self._prepared(request, model, prompt, None, False)

    async def _rendered(self, request: ChatRequest, model: ServedModel, variables: dict[str, Any]) -> str:
        if not _is_long(request) and (model.template is None or not model.template.is_slow):
            return self._render(request, model, variables)
        self.rendering += 1
        try:
            return await asyncio.to_thread(self._render, request, model, variables)
        finally:
            self.rendering -= 1

    def _render(self, request: ChatRequest, model: ServedModel, variables: dict[str, Any]) -> str:
        template = model.template
        if template is None:
            raise Refusal.invalid_argument(f"Model `{model.name}` has no chat template", param="model")
        started = time.perf_counter()
        style = Style(
            reasoning=template.mentions_reasoning,
            parts=template.content_kind == "openai",
            argument_text=template.keeps_argument_strings,
            media_mark=template.media_mark,
        )
        messages = template_messages(request.messages, style)
        tools = request.tools
        hidden = self._hide_tools_when_none and model.card.runtime_config.exclude_tools_when_tool_choice_none
        if request.tool_choice == "none" and hidden:
            tools = None
        if template.shows_demands:
            demands = {"response_format": request.response_format, "tool_choice": request.tool_choice}
            variables = {**variables, **demands}
        generation_prompt = request.add_generation_prompt is not False and not request.continue_final_message
        try:
            text = _rendered(template, messages, template_tools(tools), generation_prompt, variables)
        except TemplateError as error:
            raise Refusal.invalid_argument(str(error), param="messages") from error
        if request.continue_final_message:
            text = _cut_after_last(text, messages)
        self._template_seconds.observe(time.perf_counter() - started)
        return text

    async def _encode(
        self, text: str, request: ChatRequest | CompletionRequest, model: ServedModel
    ) -> tuple[list[int], float]:
        """The tokens, and the seconds they took."""
        started = time.perf_counter()
        limit = self._most_tokens(model)
        # the original's tokenizer leaves NUL out
        text = text.replace("\0", "") if "\0" in text else text
        try:
            token_ids = await tokenizer_of(model).encode(text, most_tokens=limit or sys.maxsize)
        except TooManyTokens as error:
            count = str(error.count) if error.exact else f"at least {error.count}"
            raise self._too_long(request, model, count) from error
        return token_ids, time.perf_counter() - started

    def _prepared(
        self,
        request: ChatRequest | CompletionRequest,
        model: ServedModel,
        token_ids: list[int],
        text: str | None,
        token_in: bool,
        guidance: Guidance | None = None,
        markers: bool = False,
    ) -> Prepared:
        vocab_size = tokenizer_of(model).vocab_size
        check_token_ids(request, vocab_size)
        self._check_length(request, model, len(token_ids))
        nvext = request.nvext
        chat = isinstance(request, ChatRequest)
        if isinstance(request, CompletionRequest):
            guidance = Guidance(completion_guidance(request))
        assert guidance is not None
        body = WorkerRequest(
            model=model.name,
            token_ids=token_ids,
            stop_conditions=options.stop_conditions(request, model.eos_token_ids),
            sampling_options=options.sampling_options(request, guidance.decoding),
            output_options=options.output_options(request, markers),
            eos_token_ids=[] if request.ignore_eos else model.eos_token_ids,
            mdc_sum=model.mdc_sum,
            annotations=(nvext.annotations if nvext is not None else None) or [],
            routing=_routing(request, model, self._chooses_ranks),
            extra_args=options.extra_args(request, token_in),
            require_reasoning=True if guidance.require_reasoning else UNSET,
            router=_router(nvext) if chat else UNSET,
            request_timestamp_ms=UNSET
            if nvext is None or nvext.request_timestamp_ms is None
            else nvext.request_timestamp_ms,
        )
        return Prepared(model, body, len(token_ids), request.n or 1, text)

    def _check_length(self, request: ChatRequest | CompletionRequest, model: ServedModel, prompt_tokens: int) -> None:
        if 0 < self._most_tokens(model) < prompt_tokens:
            raise self._too_long(request, model, str(prompt_tokens))

    def _most_tokens(self, model: ServedModel) -> int:
        """What a prompt may have; 0 for any number."""
        return (model.context_length if self._enforce_context_length else 0) or self._max_prompt_tokens

    def _too_long(self, request: ChatRequest | CompletionRequest, model: ServedModel, prompt_tokens: str) -> Refusal:
        limit = self._most_tokens(model)
        bound = f"This model's maximum context length is {limit} tokens"
        if limit != model.context_length:
            bound = f"DYN_FE_MAX_PROMPT_TOKENS allows {limit} tokens"
        return Refusal.invalid_argument(
            f"{bound}, but the prompt has {prompt_tokens} tokens.",
            param="messages" if isinstance(request, ChatRequest) else "prompt",
            code="context_length_exceeded",
        )


def _next_turn(token_ids: list[int]) -> WorkerRequest:
    return WorkerRequest(
        model="speculative_prefill",
        token_ids=token_ids,
        stop_conditions=StopConditions(max_tokens=1),
        sampling_options=SamplingOptions(),
        output_options=OutputOptions(),
        eos_token_ids=[],
        mdc_sum=None,
        annotations=[],
        routing={},
    )


def _is_long(request: ChatRequest) -> bool:
    """Whether rendering may take so long that the event loop should not wait for it."""
    if len(request.messages) + len(request.tools or ()) > _MOST_TURNS_INLINE:
        return True
    return any(
        isinstance(message.get("content"), str) and len(message["content"]) > _MOST_CHARS_INLINE
        for message in request.messages
    )


def _rendered(
    template: PromptRenderer,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    generation_prompt: bool,
    variables: dict[str, Any],
) -> str:
    """The prompt. A strict template gets the messages in the order it insists on; one that cannot take the text of cut
    or empty tool arguments gets an empty object instead: one such call in the history must not end the conversation.
    Raises TemplateError with the template's words about the messages as they came.
    """
    try:
        return template.render(messages, tools, generation_prompt, variables)
    except TemplateBoundError:
        raise
    except TemplateError as refusal:
        for mended in _mended(messages):
            with contextlib.suppress(TemplateError):
                return template.render(mended, tools, generation_prompt, variables)
        raise refusal


def _mended(messages: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same conversation in forms that more templates take, the nearest first."""
    strict = messages
    for step in (one_system_first, users_merged):
        changed = step(strict)
        if changed is not None:
            yield changed
            strict = changed
    for conversation in (messages, strict) if strict is not messages else (messages,):
        whole = without_broken_arguments(conversation)
        if whole is not None:
            yield whole


def _routing(request: ChatRequest | CompletionRequest, model: ServedModel, chooses_ranks: bool) -> dict[str, Any]:
    """Pins and hints of the request, and the adapter that the model stands for."""
    routing = options.routing(request)
    if chooses_ranks and not {"backend_instance_id", "decode_worker_id"} & routing.keys():
        # a rank is one of a worker's: without the worker it says nothing
        routing.pop("dp_rank", None)
    return _with_adapter(routing, model)


def _with_adapter(routing: dict[str, Any], model: ServedModel) -> dict[str, Any]:
    adapter = (model.card.lora or {}).get("name")
    if adapter is not None:
        routing["lora_name"] = adapter
    return routing


def _router(nvext: NvExt | None) -> Any:
    targets = nvext.router if nvext is not None else None
    if targets is None:
        return UNSET
    return {
        name: value
        for name, value in (("ttft_target", targets.ttft_target), ("itl_target", targets.itl_target))
        if value is not None
    }


def _add_media(body: WorkerRequest, request: ChatRequest, text: str | None, allow_internal: bool) -> Media | None:
    if request.mm_processor_kwargs is not None:
        body.mm_processor_kwargs = request.mm_processor_kwargs
    if request.media_io_kwargs is not None:
        body.media_io_kwargs = request.media_io_kwargs
    media = collect_media(request.messages, allow_internal)
    if media is None:
        return None
    body.multi_modal_data = media.data
    if media.uuids:
        body.multi_modal_uuids = media.uuids
    _add_extra_args(body, {"messages": media.messages, "formatted_prompt": text})
    return media


def _add_extra_args(body: WorkerRequest, more: dict[str, Any]) -> None:
    if more:
        body.extra_args = more if body.extra_args is UNSET else {**body.extra_args, **more}


def tokenizer_of(model: ServedModel) -> TextTokenizer:
    """The model's tokenizer; a model without one is refused when it is loaded, for requests of this pipeline."""
    if model.tokenizer is None:
        raise Refusal.invalid_argument(f"Model `{model.name}` has no tokenizer", param="model")
    return model.tokenizer


def _cut_after_last(text: str, messages: list[dict[str, Any]]) -> str:
    """The rendering up to the end of the last message's content, which the model is to continue."""
    content = messages[-1].get("content") or ""
    last = content if isinstance(content, str) else content[-1]["text"]
    at = text.rfind(last.strip()) if last.strip() else -1
    if at < 0:
        return text
    # a template may strip the content; what it left of the blanks behind it is the content's
    whole = last.lstrip()
    return text[: at + len(whole if text.startswith(whole, at) else last.strip())]
