"""Which families have a renderer of their own."""

from __future__ import annotations

from typing import Any, Final

from dynamo_fe.models.native.deepseek_v4 import DeepSeekV4, DeepSeekV41
from dynamo_fe.models.native.deepseek_v32 import DeepSeekV32
from dynamo_fe.models.native.kimi_k3 import KimiK3
from dynamo_fe.models.renderer import PromptRenderer

_RENDERERS: Final[dict[str, type[PromptRenderer]]] = {
    "deepseek_v32": DeepSeekV32,
    "deepseek_v3_2": DeepSeekV32,
    "deepseek_v4": DeepSeekV4,
    "deepseek_v41": DeepSeekV41,
    "kimi_k3": KimiK3,
}


def native_renderer(config: dict[str, Any]) -> PromptRenderer | None:
    """The renderer for a model with this config.json; None for a family that has a template."""
    kind = config.get("model_type")
    renderer = _RENDERERS.get(kind) if isinstance(kind, str) else None
    return None if renderer is None else renderer()
