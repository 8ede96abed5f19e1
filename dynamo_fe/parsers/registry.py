"""The names of parsers, as operators configure them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dynamo_fe.parsers.channels import CHANNEL_FORMATS
from dynamo_fe.parsers.reasoning.formats import REASONING_FORMATS
from dynamo_fe.parsers.tool_calls.formats import TOOL_FORMATS

# Other names of a format: of the reference, and as vLLM and SGLang spell them.
_TOOL_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "hermes": ("qwen25", "qwen", "granite4", "ernie45"),
    "jamba": ("hunyuan_a13b", "hunyuan"),
    "phi4": ("phi4_mini_json",),
    "llama3_json": ("llama4_json", "llama3"),
    "pythonic": ("llama4_pythonic",),
    "deepseek_v3": ("deepseek_v3_1", "deepseekv3", "deepseek_v31", "deepseekv31"),
    "deepseek_v3_2": ("deepseek_v32", "deepseekv32"),
    "deepseek_v4": ("deepseek-v4", "deepseekv4"),
    "deepseek_v41": ("deepseek-v41", "deepseekv41"),
    "qwen3_coder": ("qwen3", "nemotron_nano", "qwen3_xml", "step3p5", "mimo"),
    "minimax_m2": ("minimax-m2",),
    "minimax_m3": ("minimax-m3", "minimax_m3_nom", "minimax-m3-nom"),
    "glm47": ("glm45", "glm", "poolside_v1"),
    "kimi_k2": ("kimi_k25",),
    "kimi_k3": ("kimi-k3",),
    "gemma4": ("gemma-4",),
    "internlm": ("interns1",),
    "cohere_command": ("cohere_command3", "cohere_command4"),
    "gpt_oss": ("harmony", "openai", "gpt-oss"),
    "muse_glimmer": ("muse",),
}
_REASONING_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "deepseek_r1": (
        "deepseek_v3",
        "deepseek_v3_1",
        "deepseek_v3_2",
        "nemotron_nano",
        "nemotron3",
        "nemotron_v3",
        "deepseek-r1",
        "qwen3-thinking",
    ),
    "minimax_m2": ("minimax-m2", "minimax"),
    "minimax_append_think": ("minimax-append-think", "minimax_m2_append_think"),
    "kimi_k3": ("kimi-k3",),
    "minimax_m3": ("minimax-m3",),
    "gemma4": ("gemma-4",),
    "cohere_command": ("cohere_command3", "cohere_command4"),
    "gpt_oss": ("harmony", "openai_gptoss", "gpt-oss"),
    "muse_glimmer": ("muse",),
}


def _by_name(aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: format_name for format_name, names in aliases.items() for name in names}


_TOOL_NAMES: Final = {**{name: name for name in (*TOOL_FORMATS, *CHANNEL_FORMATS)}, **_by_name(_TOOL_ALIASES)}
_REASONING_NAMES: Final = {
    **{name: name for name in (*REASONING_FORMATS, *CHANNEL_FORMATS)},
    **_by_name(_REASONING_ALIASES),
}


def knows_tool_parser(name: str) -> bool:
    """Whether a tool parser of this name can be configured."""
    return name in _TOOL_NAMES


def tool_format_name(name: str) -> str:
    """The format behind a configured name. Raises KeyError for an unknown one."""
    return _TOOL_NAMES[name]


def reasoning_format_name(name: str) -> str:
    """The format behind a configured name; an unknown one means `basic`."""
    return _REASONING_NAMES.get(name, "basic")
