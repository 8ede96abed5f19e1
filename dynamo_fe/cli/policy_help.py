"""The file that `--router-policy-config` names, explained for operators, with an example that can be used as it is."""

from typing import Final

ABOUT: Final = (
    "The YAML file that --router-policy-config names decides with --router-mode kv, in the original's format. What "
    "stands in it wins over flags and variables. A key that is not known and a value out of range are refused at start "
    "and by check-config, with the key's name; so are instances of another type than dynamo-default-cost-fn and "
    "request_classifier, which the original has. Each part may be left out; the three keys of the lines of waiting "
    "requests (policy_classes, uncached_isl_buckets, default_policy_family) stand together, as the root profile."
)

PARTS: Final = (
    (
        "worker_selection",
        "What a choice costs. aggregated names one of instances, whose parameters are those of the flags of the same "
        "names: overlap_score_credit, overlap_score_credit_decay, prefill_load_scale, decode_active_request_weight, "
        "host_cache_hit_weight, disk_cache_hit_weight, router_temperature. One that is left out has its default, "
        "whatever its flag says.",
    ),
    (
        "router",
        "Settings beside the cost, called as in a file of settings; KV events are use_kv_events here. "
        "host_cache_hit_weight and disk_cache_hit_weight say here what counts as cached when a request is booked. "
        "Without effect yet: use_remote_indexer, serve_indexer, enable_session_prefix_index, router_event_threads.",
    ),
    (
        "policy_classes",
        "The lines of waiting requests. A request waits while every worker that it may go to has more prompt tokens "
        "in work than prefill_busy_threshold, or than prefill_busy_threshold_frac times its largest batch. In a class "
        "that has neither nobody waits. queue_policy is the order within a line: fcfs, or wspt, which lets few "
        "uncached tokens go first. Between lines, each visit lets quantum uncached prompt tokens go. "
        "request_queue_limit_per_worker, raw_isl_token_queue_limit_per_worker and cached_token_queue_limit_per_worker "
        "bound a line, times the number of workers; beyond, requests are refused with 529.",
    ),
    (
        "uncached_isl_buckets, default_policy_family",
        "Which class a request is in: that of its family, and of the bucket of its prompt tokens which no worker has "
        "cached. Buckets begin at 0 tokens and ascend, and every family has a class for each. The family is what the "
        "header x-dynamo-meta-policy-class says; without it, or with one that is not known, the default. A class "
        "without policy_family and cache_bucket gets what that header sends to it by its own name.",
    ),
    ("models", "For single models, by their names: the three keys of the two parts above, in place of those."),
)

EXAMPLE: Final = """\
worker_selection:
  aggregated: warm
  instances:
    - name: warm
      type: dynamo-default-cost-fn
      parameters: {overlap_score_credit: 1.5, router_temperature: 0.1}
router:
  router_replica_sync: true
# of short prompts, four tokens of chats go for one of batches
default_policy_family: chat
uncached_isl_buckets:
  - {min_tokens: 0, bucket: short}
  - {min_tokens: 2048, bucket: long}
policy_classes:
  - name: chat
    policy_family: chat
    cache_bucket: short
    quantum: 4096
    prefill_busy_threshold_frac: 1.0
  - name: chat-long
    policy_family: chat
    cache_bucket: long
    quantum: 2048
    prefill_busy_threshold_frac: 1.0
  - name: batch
    policy_family: batch
    cache_bucket: short
    quantum: 1024
    queue_policy: wspt
    prefill_busy_threshold_frac: 0.5
    request_queue_limit_per_worker: 64
  - name: batch-long
    policy_family: batch
    cache_bucket: long
    quantum: 1024
    queue_policy: wspt
    prefill_busy_threshold_frac: 0.5
    request_queue_limit_per_worker: 64
"""
