"""From the settings to what decides in KV mode, checked before anything is started."""

from __future__ import annotations

from typing import Any

import msgspec

from dynamo_fe.config import TABLE, Settings
from dynamo_fe.config.errors import SettingFault
from dynamo_fe.config.reading import read_file
from dynamo_fe.routing.kv.policy_file import PolicyError, PolicyFile, RouterSection, read_policy_file
from dynamo_fe.routing.kv.rules import CostWeights, KvRules, single_class
from dynamo_fe.routing.tracking_hash import TrackingKey

_NOT_THERE = "is not available in this version"
# key of the policy file's `router` section -> setting of the same meaning
_SETTING_OF = {"use_kv_events": "router_kv_events", "host_cache_hit_weight": "router_host_cache_hit_weight",
               "disk_cache_hit_weight": "router_disk_cache_hit_weight"}  # fmt: skip
# what `--load-aware` stands for
_LOAD_AWARE: dict[str, Any] = {
    "router_kv_overlap_score_credit": 0.0,
    "router_kv_events": False,
    "router_track_active_blocks": True,
    "router_assume_kv_reuse": False,
    "router_track_prefill_tokens": True,
    "shared_cache_type": "none",
    "router_predicted_ttl_secs": None,
}


def kv_rules(settings: Settings) -> KvRules:
    """The settings' rules; the policy file wins over flags, `--load-aware` as well but for what the file says.

    Raises SettingFault with the flag or the key of the policy file that is at fault.
    """
    given = {name: getattr(settings, name) for name in _names(settings)}
    if settings.load_aware:
        given |= _LOAD_AWARE
    policy = policy_file(settings)
    in_file = {} if policy is None else _of_section(policy.router)
    given |= in_file
    try:
        _check(given)
        key = _key(given)
    except SettingFault as fault:
        if in_file.keys().isdisjoint(fault.names):
            raise
        raise SettingFault(f"{settings.router_policy_config}: {fault}", "router_policy_config") from None
    weights = CostWeights(
        overlap_score_credit=given["router_kv_overlap_score_credit"],
        overlap_score_credit_decay=given["router_kv_overlap_score_credit_decay"],
        prefill_load_scale=given["router_prefill_load_scale"],
        decode_active_request_weight=given["router_decode_active_request_weight"],
        host_cache_hit_weight=given["router_host_cache_hit_weight"],
        disk_cache_hit_weight=given["router_disk_cache_hit_weight"],
        router_temperature=given["router_temperature"],
    )
    profile = single_class(settings.router_queue_threshold, given["router_queue_policy"])
    if policy is not None:
        weights, profile = policy.weights or weights, policy.profile or profile
    return KvRules(
        weights=weights,
        host_weight=given["router_host_cache_hit_weight"],
        disk_weight=given["router_disk_cache_hit_weight"],
        use_kv_events=given["router_kv_events"],
        track_active_blocks=given["router_track_active_blocks"],
        track_output_blocks=given["router_track_output_blocks"],
        assume_kv_reuse=given["router_assume_kv_reuse"],
        track_prefill_tokens=given["router_track_prefill_tokens"],
        tracking_key=key,
        ttl_secs=given["router_ttl_secs"],
        approximate_policy=given["router_approximate_cache_policy"],
        predicted_ttl_secs=given["router_predicted_ttl_secs"],
        profile=profile,
        model_profiles=() if policy is None else policy.models,
        replica_sync=given["router_replica_sync"],
        affinity_ttl_secs=settings.router_session_affinity_ttl_secs,
        affinity_mode="soft" if settings.router_session_affinity_mode == "soft" else "hard",
        block_tokens=settings.kv_cache_block_size,
        expiry_secs=settings.router_active_request_expiry_secs,
    )


def _names(settings: Settings) -> list[str]:
    return [name for name in settings.__dataclass_fields__ if name.startswith(("router_", "shared_"))]


def policy_file(settings: Settings) -> PolicyFile | None:
    """What --router-policy-config names, if it does. Raises SettingFault."""
    if settings.router_policy_config is None:
        return None
    try:
        return read_policy_file(settings.router_policy_config)
    except PolicyError as error:
        raise SettingFault(str(error), "router_policy_config") from None


def warn_of_idle_keys(settings: Settings, warnings: list[str]) -> None:
    """Names, in one line, the keys of the policy file that are accepted without effect. Raises SettingFault."""
    policy = policy_file(settings)
    given = {} if policy is None else _of_section(policy.router)
    idle = [s.name for s in TABLE if s.status == "pending" and given.get(s.name, s.default) != s.default]
    if idle:
        keys = ", ".join(f"router.{name}" for name in idle)
        warnings.append(f"{settings.router_policy_config}: accepted, but without effect in this version: {keys}")


def _of_section(section: RouterSection) -> dict[str, Any]:
    found = {name: getattr(section, name) for name in section.__struct_fields__}
    return {_SETTING_OF.get(name, name): value for name, value in found.items() if value is not msgspec.UNSET}


def _check(given: dict[str, Any]) -> None:
    for name in ("router_host_cache_hit_weight", "router_disk_cache_hit_weight"):
        if not 0 <= given[name] <= 1:
            raise SettingFault(f"{_flag(name)} must be between 0.0 and 1.0, got {given[name]:g}", name)
    for name in ("router_ttl_secs", "router_predicted_ttl_secs"):
        if given[name] is not None and not 0 <= given[name] < float("inf"):
            raise SettingFault(f"{_flag(name)} must be finite and >= 0.0, got {given[name]:g}", name)
    by_ttl = given["router_approximate_cache_policy"] == "ttl" and not given["router_kv_events"]
    if by_ttl and not given["router_ttl_secs"]:
        text = "--router-ttl-secs must be > 0.0 with --no-router-kv-events: nothing would be remembered"
        raise SettingFault(text, "router_ttl_secs", "router_kv_events")
    if given["router_predicted_ttl_secs"] is not None and not given["router_kv_events"]:
        text = "--router-predicted-ttl-secs requires KV events; leave out --no-router-kv-events"
        raise SettingFault(text, "router_predicted_ttl_secs", "router_kv_events")
    if given["router_approximate_cache_policy"] == "lru" and given["router_kv_events"]:
        text = "--router-approximate-cache-policy lru requires --no-router-kv-events"
        raise SettingFault(text, "router_approximate_cache_policy", "router_kv_events")
    if given["shared_cache_type"] != "none":
        raise SettingFault(f"--shared-cache-type {given['shared_cache_type']} {_NOT_THERE}", "shared_cache_type")
    if given["router_prefill_load_model"] != "none":
        text = f"--router-prefill-load-model {given['router_prefill_load_model']} {_NOT_THERE}"
        raise SettingFault(text, "router_prefill_load_model")


def _key(given: dict[str, Any]) -> TrackingKey | None:
    path, key_id = given["router_tracking_key_file"], given["router_tracking_key_id"]
    if given["router_tracking_hash"] == "public-xxh3-v1":
        if path is not None or key_id is not None:
            text = "--router-tracking-key-file and -id require --router-tracking-hash keyed-xxh3-v1"
            raise SettingFault(text, "router_tracking_key_file", "router_tracking_key_id")
        return None
    if path is None or not key_id:
        missing = "--router-tracking-key-file" if path is None else "--router-tracking-key-id"
        raise SettingFault(f"--router-tracking-hash keyed-xxh3-v1 requires {missing}", "router_tracking_hash")
    try:
        return TrackingKey(read_file(path), key_id)
    except OSError as error:
        text = f"--router-tracking-key-file {path}: {error.strerror}"
        raise SettingFault(text, "router_tracking_key_file") from None
    except ValueError as error:
        raise SettingFault(f"--router-tracking-key-file {path}: {error}", "router_tracking_key_file") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
