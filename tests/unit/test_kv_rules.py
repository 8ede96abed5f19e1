"""From the settings to the rules of KV mode; what is wrong is one line that names the flag or the key."""

from pathlib import Path

import pytest

from dynamo_fe.cli.kv_rules import kv_rules
from dynamo_fe.cli.preflight import configuration
from dynamo_fe.cli.remarks import remarks
from dynamo_fe.config import ConfigError, load
from dynamo_fe.protocol.card import ModelCard
from dynamo_fe.routing.kv.rules import CostWeights, KvRules

KV = ["--router-mode", "kv"]


def rules(*argv: str) -> KvRules:
    return kv_rules(configuration([*KV, *argv], {}).settings)


def refusal(*argv: str) -> str:
    with pytest.raises(ConfigError) as error:
        configuration([*KV, *argv], {})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_defaults_are_those_of_the_rules() -> None:
    assert rules() == KvRules()


def test_every_flag_arrives() -> None:
    found = rules(
        "--router-kv-overlap-score-credit", "1.5", "--router-kv-overlap-score-credit-decay", "0.1",
        "--router-prefill-load-scale", "0.2", "--router-decode-active-request-weight", "3",
        "--router-host-cache-hit-weight", "0.4", "--router-disk-cache-hit-weight", "0.5", "--router-temperature", "0.6",
        "--no-router-kv-events", "--router-ttl-secs", "7", "--router-approximate-cache-policy", "lru",
        "--no-track-active-blocks", "--track-output-blocks", "--no-assume-kv-reuse", "--no-router-track-prefill-tokens",
        "--router-queue-threshold", "0.8", "--router-queue-policy", "wspt", "--router-replica-sync",
        "--router-session-affinity-ttl-secs", "9", "--router-session-affinity-mode", "soft",
        "--kv-cache-block-size", "32",
    )  # fmt: skip
    assert found.weights == CostWeights(1.5, 0.1, 0.2, 3.0, 0.4, 0.5, 0.0, 0.6)
    assert (found.host_weight, found.disk_weight) == (0.4, 0.5)
    assert (found.use_kv_events, found.ttl_secs, found.approximate_policy) == (False, 7.0, "lru")
    tracked = (found.track_active_blocks, found.track_output_blocks, found.assume_kv_reuse, found.track_prefill_tokens)
    assert tracked == (False, True, False, False)
    (only,) = found.profile.classes
    assert (only.busy_frac, only.queue_policy, found.replica_sync) == (0.8, "wspt", True)
    assert (found.affinity_ttl_secs, found.affinity_mode, found.block_tokens) == (9, "soft", 32)


def test_load_aware_looks_at_load_alone() -> None:
    found = kv_rules(configuration(["--load-aware", "--no-track-active-blocks"], {}).settings)
    assert (found.wants_overlaps, found.use_kv_events, found.assume_kv_reuse) == (False, False, False)
    assert found.track_active_blocks


def test_the_policy_file_wins_and_leaves_booking_to_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "router: {router_ttl_secs: 5, use_kv_events: false}\n"
        "worker_selection:\n"
        "  aggregated: mine\n"
        "  instances:\n"
        "    - {name: mine, type: dynamo-default-cost-fn, parameters: {host_cache_hit_weight: 0}}\n"
    )
    found = rules("--router-policy-config", str(path), "--router-ttl-secs", "60", "--router-temperature", "1")
    assert (found.ttl_secs, found.use_kv_events) == (5.0, False)
    assert found.weights == CostWeights(host_cache_hit_weight=0.0)
    assert found.host_weight == 0.75


def test_keys_without_effect_are_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("router: {router_event_threads: 2, serve_indexer: true, use_remote_indexer: false}")
    loaded = configuration([*KV, "--router-policy-config", str(path)], {})
    assert loaded.warnings == [
        f"{path}: accepted, but without effect in this version: router.serve_indexer, router.router_event_threads"
    ]
    path.write_text("router: {router_event_threads: 4, router_ttl_secs: 3, shared_cache_type: none}")
    assert configuration([*KV, "--router-policy-config", str(path)], {}).warnings == []


def test_a_key_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    keyed = ("--router-tracking-hash", "keyed-xxh3-v1", "--router-tracking-key-file", str(path))
    found = rules(*keyed, "--router-tracking-key-id", "2026")
    assert found.tracking_key is not None
    assert (found.tracking_key.key, found.tracking_key.key_id) == (b"k" * 32, "2026")
    assert refusal(*keyed) == "--router-tracking-hash keyed-xxh3-v1 requires --router-tracking-key-id"
    path.write_bytes(b"short")
    said = refusal(*keyed, "--router-tracking-key-id", "2026")
    assert said.startswith(f"--router-tracking-key-file {path}: a tracking hash key has 32 bytes, this one has 5")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--router-mode", "fastest"], "argument --router-mode: invalid choice: 'fastest'"),
        (["--router-host-cache-hit-weight", "1.5"], "--router-host-cache-hit-weight must be between 0.0 and 1.0"),
        (["--router-kv-overlap-score-credit", "-1"], "--router-kv-overlap-score-credit must be >= 0.0, got -1"),
        (["--router-temperature", "nan"], "--router-temperature must be finite, got nan"),
        (["--router-kv-overlap-score-credit", "inf"], "--router-kv-overlap-score-credit must be finite, got inf"),
        (["--router-ttl-secs", "0", "--no-router-kv-events"], "--router-ttl-secs must be > 0.0 with"),
        (["--router-ttl-secs", "-1"], "--router-ttl-secs must be >= 0.0, got -1"),
        (["--router-predicted-ttl-secs", "-0.5"], "--router-predicted-ttl-secs must be >= 0.0, got -0.5"),
        (["--router-session-affinity-ttl-secs", "0"], "--router-session-affinity-ttl-secs must be between 1"),
        (["--active-decode-blocks-threshold", "1.1"], "--active-decode-blocks-threshold must be between 0.0 and 1.0"),
        (["--router-predicted-ttl-secs", "1", "--no-router-kv-events"], "ttl-secs requires KV events"),
        (["--router-approximate-cache-policy", "lru"], "lru requires --no-router-kv-events"),
        (["--router-tracking-key-id", "a"], "require --router-tracking-hash keyed-xxh3-v1"),
        (["--router-tracking-hash", "keyed-xxh3-v1"], "requires --router-tracking-key-file"),
        (["--router-tracking-hash", "keyed-xxh3-v1", "--router-tracking-key-file", "/nope", "--router-tracking-key-id",
          "a"], "--router-tracking-key-file /nope: No such file"),
        (["--router-policy-config", "/nope"], "--router-policy-config /nope: cannot be read"),
        (["--shared-cache-type", "hicache"], "--shared-cache-type hicache is not available"),
        (["--router-prefill-load-model", "ais"], "--router-prefill-load-model ais is not available"),
        (["--kv-cache-block-size", "0"], "--kv-cache-block-size must be between 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_flag(argv: list[str], said: str) -> None:
    assert said in refusal(*argv)


def test_a_value_of_the_file_is_checked_like_a_flag(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("router: {router_ttl_secs: -5}\n")
    assert "--router-ttl-secs must be finite and >= 0.0, got -5" in refusal("--router-policy-config", str(path))
    path.write_text("router: {host_cache_hit_weight: 3}\n")
    assert "--router-host-cache-hit-weight must be between 0.0 and 1.0, got 3" in refusal(
        "--router-policy-config", str(path)
    )


def test_blocks_of_another_size_than_the_router_is_told_are_remarked_on() -> None:
    card = ModelCard(display_name="m", kv_cache_block_size=64)
    told = ["--router-mode", "kv", "--kv-cache-block-size", "16"]
    assert remarks(load(told, {}).settings)(card) == (
        "its KV blocks have 64 tokens, --kv-cache-block-size says 16"
    )
    for words in (told[:2], told[2:], [*told[:2], "--kv-cache-block-size", "64"]):
        assert remarks(load(words, {}).settings)(card) is None
