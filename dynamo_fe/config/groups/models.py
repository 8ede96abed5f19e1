"""What a model is served with, and what its API accepts and shows."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.forms import HEADER
from dynamo_fe.config.setting import choice, optional_text, optional_whole, real, switch, text, whole


@dataclass(frozen=True)
class ModelSettings:
    group: ClassVar[str] = "Models and tokenizers"

    model_name: str | None = optional_text("--model-name", env="DYN_MODEL_NAME", help="Name of the model.")
    model_path: str | None = optional_text(
        "--model-path",
        env="DYN_MODEL_PATH",
        help="Local folder with the model's files, for cards that name no local one.",
    )
    tokenizer: str = choice(
        "auto",
        ("auto", "default", "fastokens", "basetenkenizer"),
        "--tokenizer",
        env="DYN_TOKENIZER",
        stand_ins={"basetenkenizer": "default"},
        help="auto starts with the Hugging Face tokenizer and takes fastokens once it proved equal; default is the "
        "former, fastokens the latter alone.",
    )
    tokenizer_fallback: bool = switch(
        True,
        "--tokenizer-fallback",
        env="DYN_TOKENIZER_FALLBACK",
        status="pending",
        help="Fall back to the Hugging Face tokenizer where the chosen one refuses the file.",
    )
    trust_remote_code: bool = switch(
        False,
        "--trust-remote-code",
        env="DYN_TRUST_REMOTE_CODE",
        status="pending",
        help="Run the code that some models bring for their tokenizer.",
    )
    custom_jinja_template: str | None = optional_text(
        env="DYN_CUSTOM_JINJA_TEMPLATE", status="pending", help="File with a chat template instead of the model's own."
    )
    tokenize_threads: int = whole(
        2, env="DYN_FE_TOKENIZE_THREADS", low=1, high=1024, help="Threads that tokenize, per worker."
    )
    tokenize_inline_bytes: int = whole(
        2048, env="DYN_FE_TOKENIZE_INLINE_BYTES", help="Prompts up to this length are tokenized without a thread."
    )
    tokenize_queue: int = whole(
        1024, env="DYN_FE_TOKENIZE_QUEUE", low=1, help="Prompts that may wait for a thread, per worker."
    )
    cache_dir: str = text(
        "~/.cache/dynamo-fe", env="DYN_FE_CACHE_DIR", help="Folder for model files that are fetched from workers."
    )
    cache_mb: int = whole(
        2048, env="DYN_FE_CACHE_MB", low=1, high=1 << 30, help="Size of that folder, MiB; the oldest files go."
    )
    model_file_mb: int = whole(
        512,
        env="DYN_FE_MODEL_FILE_MB",
        low=1,
        high=1 << 20,
        help="Largest model file that is fetched from a worker, MiB.",
    )
    model_fetch_timeout_secs: float = real(
        60.0, env="DYN_FE_MODEL_FETCH_TIMEOUT_SECS", low=0.1, help="Time that fetching one model file may take."
    )
    context_window: int | None = optional_whole(
        env="DYN_CONTEXT_WINDOW", low=1, help="Context length shown in /v1/models instead of the model's."
    )
    max_output_tokens: int | None = optional_whole(
        env="DYN_MAX_OUTPUT_TOKENS", low=1, help="Output limit shown in /v1/models."
    )
    enforce_context_length: bool = switch(
        True, env="DYN_FE_ENFORCE_CONTEXT_LENGTH", help="Refuse a prompt longer than the model's context."
    )
    max_prompt_tokens: int = whole(
        1_000_000,
        env="DYN_FE_MAX_PROMPT_TOKENS",
        help="Longest prompt where the model's context length is not known or not enforced; 0 means any.",
    )
    allow_internal_media: bool = switch(
        False,
        env="DYN_MM_ALLOW_INTERNAL",
        help="Take pictures by IP addresses, by ports and by names that lead inside as well.",
    )
    lora_enabled: bool = switch(False, env="DYN_LORA_ENABLED", status="pending", help="Place LoRA adapters.")


@dataclass(frozen=True)
class ApiSettings:
    group: ClassVar[str] = "API"

    reasoning_field_name: str = choice(
        "reasoning_content",
        ("reasoning_content", "reasoning"),
        "--reasoning-field-name",
        env="DYN_REASONING_FIELD_NAME",
        help="Field of an answer that holds the reasoning.",
    )
    exclude_tools_when_tool_choice_none: bool = switch(
        True,
        "--exclude-tools-when-tool-choice-none",
        env="DYN_EXCLUDE_TOOLS_WHEN_TOOL_CHOICE_NONE",
        help="Keep tools out of the prompt when tool_choice is none.",
    )
    ignore_unsupported_fields: bool = switch(
        False,
        env="DYN_IGNORE_OPENAI_FE_UNSUPPORTED_FIELDS",
        help="Ignore unknown request fields instead of answering 400.",
    )
    force_include_usage: bool = switch(
        False, env="DYN_ENABLE_FORCE_INCLUDE_USAGE", help="Report usage at the end of every stream."
    )
    metadata_header: str = text(
        "x-dynamo-meta-",
        env="DYN_METADATA_HEADER",
        form=HEADER,
        help="Prefix of the request headers that are handed to workers.",
    )
    disable_frontend_nvext: bool = switch(
        False, env="DYN_DISABLE_FRONTEND_NVEXT", help="Ignore nvext and the routing headers."
    )
    disable_frontend_admin_api: bool = switch(
        False, env="DYN_DISABLE_FRONTEND_ADMIN_API", help="Do not serve /busy_threshold."
    )
    enable_anthropic_api: bool = switch(
        False,
        "--enable-anthropic-api",
        env="DYN_ENABLE_ANTHROPIC_API",
        status="pending",
        help="Serve Anthropic's Messages API.",
    )
    strip_anthropic_preamble: bool = switch(
        True,
        "--strip-anthropic-preamble",
        env="DYN_STRIP_ANTHROPIC_PREAMBLE",
        status="pending",
        help="Take the billing line of Claude Code out of the system prompt.",
    )
    enable_streaming_tool_dispatch: bool = switch(
        False,
        "--enable-streaming-tool-dispatch",
        env="DYN_ENABLE_STREAMING_TOOL_DISPATCH",
        help="Send an event tool_call_dispatch for every complete tool call.",
    )
    enable_streaming_reasoning_dispatch: bool = switch(
        False,
        "--enable-streaming-reasoning-dispatch",
        env="DYN_ENABLE_STREAMING_REASONING_DISPATCH",
        help="Send an event reasoning_dispatch with the whole reasoning.",
    )
    vllm_inference_v1_generate: bool = switch(
        False,
        env="DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE",
        status="pending",
        help="Serve /inference/v1/generate.",
    )
    sglang_generate: bool = switch(False, env="DYN_SGLANG_ENABLE_GENERATE", status="pending", help="Serve /generate.")
