"""What a text-in worker is sent: the client's own request, its fields as the original knows them, absent ones left out.

Source: Dynamo 1.6.1, what its workers of `model_input` Text saw.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dynamo_fe.models.served import ServedModel
from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.pipeline.thinking import template_variables
from dynamo_fe.protocol.openai import OWN_FIELDS, ChatRequest, CompletionRequest
from dynamo_fe.protocol.worker_request import Single, TextRequest

# these only shape prompts of ours, or are read by token-in workers alone
_LEFT_OUT: Final = frozenset(
    """stop_token_ids allowed_token_ids bad_words_token_ids logprob_token_ids detokenize cache_salt thinking
    chat_template_kwargs chat_template_args safety_identifier prompt_cache_retention verbosity""".split()
) | OWN_FIELDS
_SINGLES: Final = frozenset(
    "temperature top_p min_p repetition_penalty presence_penalty frequency_penalty".split()
)
_MESSAGE_KEYS: Final = {
    "system": ("content", "name"),
    "developer": ("content", "name"),
    "user": ("content", "name"),
    "assistant": ("content", "reasoning_content", "refusal", "name", "audio", "tool_calls", "function_call"),
    "tool": ("content", "tool_call_id"),
    "function": ("content", "name"),
}
_STREAM_OPTIONS: Final = {"include_usage": False, "continuous_usage_stats": False}
_DETAILED: Final = ("image_url", "video_url")


def text_prepared(request: ChatRequest | CompletionRequest, prompt: Any, model: ServedModel) -> Prepared:
    """The request ready for any worker of its model. `prompt` is one element of the prompts of a completion, or all of
    them where they are one; None for chat.
    """
    fields = _fields(request, model.name)
    if isinstance(request, ChatRequest):
        fields["messages"] = [_message(message) for message in request.messages]
        if variables := template_variables(request, None, None):
            fields["chat_template_args"] = variables
    else:
        fields["prompt"] = prompt
    body = TextRequest.of(model.name, model.mdc_sum, fields)
    return Prepared(model, body, prompt_tokens=0, choices=0, formatted_prompt=None)


def split_prompts(request: CompletionRequest) -> list[Any]:
    """The prompts, one worker request each; a list of one stays as it is."""
    prompt = request.prompt
    if isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int):
        return list(prompt)
    return [prompt]


def _fields(request: ChatRequest | CompletionRequest, model: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if value is None or value is msgspec.UNSET or name in _LEFT_OUT:
            continue
        if isinstance(value, msgspec.Struct):
            value = _given(msgspec.to_builtins(value))
        elif name in _SINGLES:
            value = Single(value)
        elif name == "tools":
            value = [{key: _given(part, deep=False) for key, part in tool.items()} for tool in value]
        elif name == "web_search_options" and isinstance(value, dict):
            value = {"search_context_size": None, "user_location": None, **value}
        fields[name] = value
    if "stream_options" in fields:
        fields["stream_options"] = _STREAM_OPTIONS | fields["stream_options"]
    fields["model"] = model
    return fields


def _given(value: Any, deep: bool = True) -> Any:
    """Without the members that are null; `deep` also inside of members."""
    if not isinstance(value, dict):
        return value
    return {key: _given(part) if deep else part for key, part in value.items() if part is not None}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """The keys that the original knows of a message of that role."""
    role = message.get("role")
    out: dict[str, Any] = {"role": role}
    for key in _MESSAGE_KEYS.get(str(role), ()):
        value = message.get(key)
        if value is None and key == "reasoning_content":
            value = message.get("reasoning")
        if value is None:
            continue
        if key == "content" and isinstance(value, list):
            value = [_part(part) for part in value]
        elif key == "tool_calls" and isinstance(value, list):
            value = [_call(call) for call in value]
        out[key] = value
    return out


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    if kind in _DETAILED and isinstance(part.get(kind), dict):
        return {**part, kind: {"detail": None, **part[kind]}}
    return part


def _call(call: Any) -> Any:
    return {key: call[key] for key in ("id", "type", "function") if key in call} if isinstance(call, dict) else call
