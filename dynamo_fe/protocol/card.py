"""The model deployment card: what a worker publishes about the model it serves.

One record per (worker instance, model) under ``v1/mdc/{namespace}/{component}/{endpoint}/{instance id}[/{lora slug}]``.
Fields as in Dynamo 1.6.1; unknown ones are ignored, so that newer workers are understood.
"""

from __future__ import annotations

from typing import Any

import msgspec


class FileRef(msgspec.Struct, frozen=True):
    """A file of the model: where it is, and what it must hold."""

    path: str  # absolute path, file://, http(s):// or hf:// URL
    checksum: str  # "blake3:" and 64 hex digits of the plain blake3 of the content
    size: int | None = None  # bytes


class ModelInfo(msgspec.Struct, frozen=True):
    """config.json."""

    hf_config_json: FileRef | None = None


class TokenizerFile(msgspec.Struct, frozen=True):
    """tokenizer.json of the Hugging Face library, or a tiktoken model."""

    hf_tokenizer_json: FileRef | None = None
    tik_token_model: FileRef | None = None


class PromptFormatter(msgspec.Struct, frozen=True):
    """tokenizer_config.json: chat template and the names of the special tokens."""

    hf_tokenizer_config_json: FileRef | None = None


class TemplateFile(msgspec.Struct, frozen=True):
    """A separate chat template; `is_custom` when the operator of the worker named it."""

    file: FileRef
    is_custom: bool = False


class ChatTemplateFile(msgspec.Struct, frozen=True):
    """The separate chat template as Jinja text or as JSON with the key ``chat_template``."""

    hf_chat_template: TemplateFile | None = None
    hf_chat_template_json: TemplateFile | None = None

    def ref(self) -> FileRef | None:
        """The file itself, whichever of the two it is."""
        artifact = self.hf_chat_template or self.hf_chat_template_json
        return artifact.file if artifact is not None else None


class GenerationConfig(msgspec.Struct, frozen=True):
    """generation_config.json, of which a frontend only reads the eos ids."""

    hf_generation_config_json: FileRef | None = None


class DisaggregatedEndpoint(msgspec.Struct, frozen=True):
    """Where a prefill worker's bootstrap server listens."""

    bootstrap_host: str | None = None
    bootstrap_port: int | None = None


class StructuralTag(msgspec.Struct, frozen=True):
    """How calls are held to a grammar (the worker's ``--dyn-structural-tag``).

    `scope`: "auto" (only where a request needs it) or "always"; `schema`: "auto" or "strict" (also where a tool says it
    is not strict); `reasoning_boundary`: who lets an open thought end before the grammar binds: "structural_tag" (the
    grammar), "backend" (the engine) or "auto".
    """

    scope: str = "auto"
    schema: str = "auto"
    reasoning_boundary: str = "auto"
    allow_tool_calls_with_structured_output: bool = False
    exclude_special_tokens: bool | None = None
    tool_arguments_any_order: bool = False


class RuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine behind the card can do. Not covered by the card's checksum."""

    context_length: int | None = None
    total_kv_blocks: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    tool_call_arguments_format: str | None = None
    tokenizer_backend: str | None = None
    tokenizer_fallback_enabled: bool | None = None
    structural_tag: StructuralTag | None = None
    structural_tag_mode: str | None = None
    structural_tag_scope: str | None = None
    structural_tag_schema: str | None = None
    exclude_tools_when_tool_choice_none: bool = True
    data_parallel_start_rank: int = 0
    data_parallel_size: int = 1
    enable_local_indexer: bool = True
    kv_event_publishing_enabled: bool | None = None
    kv_event_source_mode: Any = None
    kv_state_endpoint: Any = None
    runtime_data: dict[str, Any] = {}
    disaggregated_endpoint: DisaggregatedEndpoint | None = None
    enable_eagle: bool = False
    taints: list[str] = []
    stable_routing_id: str | None = None
    topology_domains: dict[str, str] = {}
    kv_transfer_domain: str | None = None
    kv_transfer_enforcement: str | None = None
    kv_transfer_preferred_weight: float | None = None

    def tag_options(self) -> StructuralTag | None:
        """How calls are held to a grammar; None when the worker does not ask for one. Older workers write only the
        single fields.
        """
        if self.structural_tag is not None or self.structural_tag_mode != "on":
            return self.structural_tag
        return StructuralTag(self.structural_tag_scope or "auto", self.structural_tag_schema or "auto")


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model deployment card. Optional fields are None (or empty) when the worker left them out."""

    display_name: str
    slug: str = ""
    source_path: str | None = None
    model_info: ModelInfo | None = None
    tokenizer: TokenizerFile | None = None
    prompt_formatter: PromptFormatter | None = None
    chat_template_file: ChatTemplateFile | None = None
    gen_config: GenerationConfig | None = None
    prompt_context: list[Any] | None = None
    architectural_max_context_length: int | None = None
    context_length: int = 0  # tokens; 0 = not known
    kv_cache_block_size: int = 16  # tokens
    migration_limit: int = 0
    model_type: str = ""  # names joined by " | "; empty for prefill and encode workers
    model_input: str = "Tokens"
    worker_type: str | None = None
    needs: list[list[str]] = []  # outer list = or, inner = and
    lora: dict[str, Any] | None = None
    aliases: list[str] | None = None
    user_data: Any = None
    runtime_config: RuntimeConfig = msgspec.field(default_factory=RuntimeConfig)
    tensor_model_config: Any = None
    media_decoder: Any = None
    media_fetcher: Any = None
    forward_inline_media_in_messages: bool = False
    router_config: Any = None
    extra_files: list[FileRef] | None = None

    def model_types(self) -> frozenset[str]:
        """The endpoints' names the model can serve: "Chat", "Completions", "Embedding", …"""
        return frozenset(name.strip() for name in self.model_type.split("|") if name.strip())

    def files(self) -> list[FileRef]:
        """The files that a prompt depends on, in the order of the card's checksum."""
        refs = (
            self.model_info.hf_config_json if self.model_info else None,
            (self.tokenizer.hf_tokenizer_json or self.tokenizer.tik_token_model) if self.tokenizer else None,
            self.prompt_formatter.hf_tokenizer_config_json if self.prompt_formatter else None,
            self.chat_template_file.ref() if self.chat_template_file else None,
            self.gen_config.hf_generation_config_json if self.gen_config else None,
        )
        return [ref for ref in refs if ref is not None]

    def picture_file(self) -> FileRef | None:
        """preprocessor_config.json, where the card names it: else it may lie beside config.json."""
        for ref in self.extra_files or ():
            if ref.path.rpartition("/")[2] == "preprocessor_config.json":
                return ref
        return None

    def effective_context_length(self) -> int:
        """Tokens; the engine's own length counts first (even 0), then the architecture's; 0 = not known."""
        own = self.runtime_config.context_length
        if own is not None:
            return own
        return self.architectural_max_context_length or self.context_length


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, tag="Model", tag_field="type"):
    """The discovery record that carries a card."""

    namespace: str
    component: str
    endpoint: str
    instance_id: int
    card_json: ModelCard
    model_suffix: str | None = None  # slug of a LoRA adapter: the last part of the key


_RECORD_DECODER = msgspec.json.Decoder(ModelRecord)


def decode_model_record(raw: bytes) -> ModelRecord:
    """Read the JSON value of a model record.

    Raises:
        msgspec.ValidationError: a field has the wrong type or a required one is missing.
        msgspec.DecodeError: not JSON.
    """
    return _RECORD_DECODER.decode(raw)
