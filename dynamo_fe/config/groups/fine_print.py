"""Rarely used variables of the original: paths of its routes, edges of its histograms."""

from dataclasses import dataclass
from typing import ClassVar

from dynamo_fe.config.forms import ROUTE
from dynamo_fe.config.setting import optional_real, optional_text, optional_whole


@dataclass(frozen=True)
class RoutePathSettings:
    group: ClassVar[str] = "Paths of routes"

    http_svc_chat_path: str | None = optional_text(
        env="DYN_HTTP_SVC_CHAT_PATH", form=ROUTE, help="Path of chat instead of the usual one."
    )
    http_svc_cmp_path: str | None = optional_text(
        env="DYN_HTTP_SVC_CMP_PATH", form=ROUTE, help="Path of completions instead of the usual one."
    )
    http_svc_emb_path: str | None = optional_text(
        env="DYN_HTTP_SVC_EMB_PATH", form=ROUTE, status="pending", help="Path of embeddings instead of the usual one."
    )
    http_svc_responses_path: str | None = optional_text(
        env="DYN_HTTP_SVC_RESPONSES_PATH",
        form=ROUTE,
        status="pending",
        help="Path of responses instead of the usual one.",
    )
    http_svc_anthropic_path: str | None = optional_text(
        env="DYN_HTTP_SVC_ANTHROPIC_PATH",
        form=ROUTE,
        status="pending",
        help="Path of Anthropic messages instead of the usual one.",
    )
    http_svc_models_path: str | None = optional_text(
        env="DYN_HTTP_SVC_MODELS_PATH", form=ROUTE, help="Path of models instead of the usual one."
    )
    http_svc_health_path: str | None = optional_text(
        env="DYN_HTTP_SVC_HEALTH_PATH", form=ROUTE, help="Path of health instead of the usual one."
    )
    http_svc_live_path: str | None = optional_text(
        env="DYN_HTTP_SVC_LIVE_PATH", form=ROUTE, help="Path of live instead of the usual one."
    )
    http_svc_metrics_path: str | None = optional_text(
        env="DYN_HTTP_SVC_METRICS_PATH", form=ROUTE, help="Path of metrics instead of the usual one."
    )
    http_svc_classify_path: str | None = optional_text(
        env="DYN_HTTP_SVC_CLASSIFY_PATH",
        form=ROUTE,
        status="pending",
        help="Path of classify instead of the usual one.",
    )
    http_svc_pooling_path: str | None = optional_text(
        env="DYN_HTTP_SVC_POOLING_PATH", form=ROUTE, status="pending", help="Path of pooling instead of the usual one."
    )
    http_svc_rerank_path: str | None = optional_text(
        env="DYN_HTTP_SVC_RERANK_PATH", form=ROUTE, status="pending", help="Path of rerank instead of the usual one."
    )
    http_svc_files_path: str | None = optional_text(
        env="DYN_HTTP_SVC_FILES_PATH", form=ROUTE, status="pending", help="Path of files instead of the usual one."
    )
    http_svc_batches_path: str | None = optional_text(
        env="DYN_HTTP_SVC_BATCHES_PATH", form=ROUTE, status="pending", help="Path of batches instead of the usual one."
    )
    http_svc_vllm_generate_path: str | None = optional_text(
        env="DYN_HTTP_SVC_VLLM_GENERATE_PATH",
        form=ROUTE,
        status="pending",
        help="Path of vLLM's generate instead of the usual one.",
    )
    http_svc_sglang_generate_path: str | None = optional_text(
        env="DYN_HTTP_SVC_SGLANG_GENERATE_PATH",
        form=ROUTE,
        status="pending",
        help="Path of SGLang's generate instead of the usual one.",
    )


@dataclass(frozen=True)
class HistogramSettings:
    group: ClassVar[str] = "Edges of histograms"

    metrics_request_duration_min: float | None = optional_real(
        env="DYN_METRICS_REQUEST_DURATION_MIN", status="pending", help="Least edge of the request duration histogram."
    )
    metrics_request_duration_max: float | None = optional_real(
        env="DYN_METRICS_REQUEST_DURATION_MAX", status="pending", help="Largest edge of the request duration histogram."
    )
    metrics_request_duration_count: int | None = optional_whole(
        env="DYN_METRICS_REQUEST_DURATION_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the request duration histogram.",
    )
    metrics_input_sequence_min: float | None = optional_real(
        env="DYN_METRICS_INPUT_SEQUENCE_MIN", status="pending", help="Least edge of the input length histogram."
    )
    metrics_input_sequence_max: float | None = optional_real(
        env="DYN_METRICS_INPUT_SEQUENCE_MAX", status="pending", help="Largest edge of the input length histogram."
    )
    metrics_input_sequence_count: int | None = optional_whole(
        env="DYN_METRICS_INPUT_SEQUENCE_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the input length histogram.",
    )
    metrics_output_sequence_min: float | None = optional_real(
        env="DYN_METRICS_OUTPUT_SEQUENCE_MIN", status="pending", help="Least edge of the output length histogram."
    )
    metrics_output_sequence_max: float | None = optional_real(
        env="DYN_METRICS_OUTPUT_SEQUENCE_MAX", status="pending", help="Largest edge of the output length histogram."
    )
    metrics_output_sequence_count: int | None = optional_whole(
        env="DYN_METRICS_OUTPUT_SEQUENCE_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the output length histogram.",
    )
    metrics_ttft_min: float | None = optional_real(
        env="DYN_METRICS_TTFT_MIN", status="pending", help="Least edge of the time to first token histogram."
    )
    metrics_ttft_max: float | None = optional_real(
        env="DYN_METRICS_TTFT_MAX", status="pending", help="Largest edge of the time to first token histogram."
    )
    metrics_ttft_count: int | None = optional_whole(
        env="DYN_METRICS_TTFT_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the time to first token histogram.",
    )
    metrics_itl_min: float | None = optional_real(
        env="DYN_METRICS_ITL_MIN", status="pending", help="Least edge of the inter-token latency histogram."
    )
    metrics_itl_max: float | None = optional_real(
        env="DYN_METRICS_ITL_MAX", status="pending", help="Largest edge of the inter-token latency histogram."
    )
    metrics_itl_count: int | None = optional_whole(
        env="DYN_METRICS_ITL_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the inter-token latency histogram.",
    )
    metrics_embedding_latency_min: float | None = optional_real(
        env="DYN_METRICS_EMBEDDING_LATENCY_MIN", status="pending", help="Least edge of the embedding latency histogram."
    )
    metrics_embedding_latency_max: float | None = optional_real(
        env="DYN_METRICS_EMBEDDING_LATENCY_MAX",
        status="pending",
        help="Largest edge of the embedding latency histogram.",
    )
    metrics_embedding_latency_count: int | None = optional_whole(
        env="DYN_METRICS_EMBEDDING_LATENCY_COUNT",
        low=1,
        status="pending",
        help="Number of edges of the embedding latency histogram.",
    )
