"""A model's chat template: messages to prompt text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import TemplateError as JinjaError
from jinja2.environment import Template

from dynamo_fe.models.errors import CardError, TemplateBoundError, TemplateError
from dynamo_fe.models.renderer import ContentKind
from dynamo_fe.models.template_engine import ChatEnvironment, render

_SPECIAL_TOKEN_NAMES: Final = ("bos_token", "eos_token", "unk_token")
_DEFAULT: Final = "default"
_TOOL_USE: Final = "tool_use"
_PROBE: Final = "dynamo-fe-probe"
_MEDIA_MARKS: Final = ((("<|end|>", "<|assistant|>"), "<|image_{n}|>"), (("USER:", "ASSISTANT:"), "<image>"))
_ARGUMENTS_ARE_STRING: Final = re.compile(r"\barguments['\"]?\]?\s+is\s+(?:not\s+)?string\b")


@dataclass(frozen=True, slots=True)
class _Variant:
    """One of a model's templates. One that does not compile refuses every conversation with the reason."""

    source: str
    compiled: Template | None
    fault: str


class ChatTemplate:
    """A model's templates, compiled once: ``default`` and maybe ``tool_use``, which is taken when there are tools.

    `content_kind` says what the default template wants as the content of a message, found by probing: "openai" (a list
    of parts) only if a plain string does not come through; `mentions_reasoning`: it reads ``reasoning_content`` itself;
    `keeps_argument_strings`: it asks whether the arguments of a tool call are a string, so both forms suit it;
    `media_mark`: what its family writes in a text where a picture stands, ``{n}`` its number; "" where a list of parts
    is shown to the template instead.
    """

    shows_demands = False

    def __init__(self, templates: Mapping[str, str], special_tokens: Mapping[str, str]) -> None:
        """`templates`: name → Jinja source, at least one; `special_tokens`: variables such as ``bos_token``."""
        environment = ChatEnvironment()
        self._variants = {name: _compile(environment, source) for name, source in templates.items()}
        self._special_tokens = dict(special_tokens)
        self.is_slow = False
        source = self._choose(tools=False).source
        self.mentions_reasoning = "reasoning_content" in source
        self.keeps_argument_strings = _ARGUMENTS_ARE_STRING.search(source) is not None
        self.content_kind: ContentKind = self._probe_content_kind()
        self.media_mark = _media_mark(source) if self.content_kind == "string" else ""

    @property
    def fault(self) -> str:
        """Why the default template cannot be used at all; "" if it can."""
        return self._choose(tools=False).fault

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        """The prompt text. `variables` are further names of the template, such as ``chat_template_kwargs``.

        Synchronous; the cost is bounded (see `template_engine.render`).

        Raises:
            TemplateError: with the template's own words.
        """
        variant = self._choose(tools=bool(tools))
        if variant.compiled is None:
            raise TemplateError(variant.fault)
        names = {
            **variables,
            **self._special_tokens,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return render(variant.compiled, names)
        except TemplateBoundError:
            self.is_slow = True
            raise

    def _choose(self, tools: bool) -> _Variant:
        if tools and _TOOL_USE in self._variants:
            return self._variants[_TOOL_USE]
        return self._variants.get(_DEFAULT) or next(iter(self._variants.values()))

    def _probe_content_kind(self) -> ContentKind:
        if self._shows(_PROBE):
            return "string"
        return "openai" if self._shows([{"type": "text", "text": _PROBE}]) else "string"

    def _shows(self, content: Any) -> bool:
        try:
            return _PROBE in self.render([{"role": "user", "content": content}], None, False, {})
        except TemplateError:
            return False


def _media_mark(source: str) -> str:
    """Told by the turn markers of the family, as Dynamo 1.6.1 does."""
    for markers, mark in _MEDIA_MARKS:
        if all(marker in source for marker in markers):
            return mark
    return ""


def _compile(environment: ChatEnvironment, source: str) -> _Variant:
    try:
        return _Variant(source, environment.from_string(source), "")
    except JinjaError as failure:
        return _Variant(source, None, failure.message or type(failure).__name__)
    except RecursionError:
        return _Variant(source, None, "the chat template is nested too deeply")


def named_templates(chat_template: Any) -> dict[str, str]:
    """``chat_template`` of a tokenizer_config.json: one text, or a list of ``{"name", "template"}``; {} when absent.

    Raises:
        CardError: neither of these.
    """
    if chat_template is None:
        return {}
    if isinstance(chat_template, str):
        return {_DEFAULT: chat_template}
    if isinstance(chat_template, dict):
        return _all_text(chat_template.items())
    if isinstance(chat_template, list) and all(isinstance(entry, dict) for entry in chat_template):
        return _all_text((entry.get("name"), entry.get("template")) for entry in chat_template)
    raise CardError("chat_template is neither a text nor a list of named texts")


def special_tokens(tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """The template variables ``bos_token``, ``eos_token``, ``unk_token``: text, or an object with ``content``."""
    found: dict[str, str] = {}
    for name in _SPECIAL_TOKEN_NAMES:
        token = tokenizer_config.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = token
    return found


def _all_text(named: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    templates: dict[str, str] = {}
    for name, source in named:
        if not isinstance(name, str) or not isinstance(source, str):
            raise CardError("a named chat template is not a text")
        templates[name] = source
    return templates
