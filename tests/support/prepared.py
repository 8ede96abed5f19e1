"""Chat requests on their way to a worker, in this process: read, checked, rendered and prepared."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dynamo_fe.http.parse import parse_request
from dynamo_fe.http.validation import check_chat
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.renderer import PromptRenderer
from dynamo_fe.models.served import ServedModel
from dynamo_fe.models.template import ChatTemplate
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.models.tokenizer_loading import load_tokenizer
from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.pipeline.prepare import Prepared, Preparer
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.protocol.openai import ChatRequest
from tests.support.models import TINY_MODEL_DIR

SPECIAL_TOKENS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
# shows tools and messages; @TAIL@ is what follows the generation prompt
CHAT = (
    "{% if tools %}<|im_start|>tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% elif m['content'] %}{{ m['content'] | tojson }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n@TAIL@{% endif %}"
)


class Desk:
    """Prepares requests of any model; its tokenizer is the tiny one's."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._preparer = Preparer(
            FrontendMetrics(), enforce_context_length=False, max_prompt_tokens=20_000, hide_tools_when_none=True
        )

    @classmethod
    async def open(cls, pool: TokenizePool) -> Desk:
        return cls(await load_tokenizer(TINY_MODEL_DIR / "tokenizer.json", "default", pool, FastEncoders(), busy=False))

    def model(self, runtime_config: dict[str, Any], template: str | PromptRenderer) -> ServedModel:
        card = msgspec.convert({"display_name": "m", "runtime_config": runtime_config}, ModelCard)
        rendered_by = ChatTemplate({"default": template}, SPECIAL_TOKENS) if isinstance(template, str) else template
        return ServedModel("m", card, "", 0, [], rendered_by, self._tokenizer)

    async def prepared(self, body: dict[str, Any], model: ServedModel) -> Prepared:
        """Raises Refusal as the frontend would refuse."""
        fields = {"model": "m", "messages": [{"role": "user", "content": "Q"}], **body}
        request = parse_request(json.dumps(fields).encode(), ChatRequest, ignore_unknown=False)
        check_chat(request)
        return await self._preparer.chat(request, model)


def runtime_config(record: dict[str, Any]) -> dict[str, Any]:
    """The card's, from the parsers and worker options of a record of the parser corpus."""
    options = dict(record.get("worker_options") or {})
    mode = options.pop("default_thinking_mode", None)
    return {
        "tool_call_parser": record.get("tool_parser"),
        "reasoning_parser": record.get("reasoning_parser"),
        "runtime_data": {"default_thinking_mode": mode} if mode is not None else {},
        **options,
    }
