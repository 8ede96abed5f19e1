"""`--router-policy-config`: the YAML file of policies.

Format and refusals: Dynamo 1.6.1. Cost functions other than the default one, classifiers and separate policies for
encode workers are not in this version and are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import yaml

from dynamo_fe.config.reading import read_file
from dynamo_fe.routing.kv.rules import CostWeights, PolicyClass, PolicyProfile, QueuePolicy

_DEFAULT_TYPE: Final = "dynamo-default-cost-fn"
_BUILT_IN: Final = "default"
_BELOW_ONE: Final = frozenset(("host_cache_hit_weight", "disk_cache_hit_weight", "shared_cache_multiplier"))


class PolicyError(ValueError):
    """The file cannot be used; the text names the key at fault."""


class RouterSection(msgspec.Struct, forbid_unknown_fields=True):
    """`router`: shared settings, which win over their flags. UNSET where the file says nothing."""

    host_cache_hit_weight: float | msgspec.UnsetType = msgspec.UNSET
    disk_cache_hit_weight: float | msgspec.UnsetType = msgspec.UNSET
    use_kv_events: bool | msgspec.UnsetType = msgspec.UNSET
    router_replica_sync: bool | msgspec.UnsetType = msgspec.UNSET
    router_track_active_blocks: bool | msgspec.UnsetType = msgspec.UNSET
    router_track_output_blocks: bool | msgspec.UnsetType = msgspec.UNSET
    router_assume_kv_reuse: bool | msgspec.UnsetType = msgspec.UNSET
    router_track_prefill_tokens: bool | msgspec.UnsetType = msgspec.UNSET
    router_tracking_hash: Literal["public-xxh3-v1", "keyed-xxh3-v1"] | msgspec.UnsetType = msgspec.UNSET
    router_tracking_key_file: str | None | msgspec.UnsetType = msgspec.UNSET
    router_tracking_key_id: str | None | msgspec.UnsetType = msgspec.UNSET
    router_prefill_load_model: Literal["none", "ais"] | msgspec.UnsetType = msgspec.UNSET
    router_ttl_secs: float | msgspec.UnsetType = msgspec.UNSET
    router_approximate_cache_policy: Literal["ttl", "lru"] | msgspec.UnsetType = msgspec.UNSET
    router_event_threads: int | msgspec.UnsetType = msgspec.UNSET
    use_remote_indexer: bool | msgspec.UnsetType = msgspec.UNSET
    serve_indexer: bool | msgspec.UnsetType = msgspec.UNSET
    enable_session_prefix_index: bool | msgspec.UnsetType = msgspec.UNSET
    shared_cache_type: Literal["none", "hicache"] | msgspec.UnsetType = msgspec.UNSET
    router_predicted_ttl_secs: float | None | msgspec.UnsetType = msgspec.UNSET


class _Class(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    quantum: int
    policy_family: str | None = None
    cache_bucket: str | None = None
    queue_policy: QueuePolicy = "fcfs"
    prefill_busy_threshold: int | None = None
    prefill_busy_threshold_frac: float | None = None
    request_queue_limit_per_worker: int | None = None
    raw_isl_token_queue_limit_per_worker: int | None = None
    cached_token_queue_limit_per_worker: int | None = None


class _Bucket(msgspec.Struct, forbid_unknown_fields=True):
    min_tokens: int
    bucket: str


class _Profile(msgspec.Struct, forbid_unknown_fields=True):
    default_policy_family: str
    policy_classes: list[_Class]
    uncached_isl_buckets: list[_Bucket]


class _Instance(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    type: str
    parameters: dict[str, Any] = {}


class _Selection(msgspec.Struct, forbid_unknown_fields=True):
    aggregated: str = _BUILT_IN
    prefill: str = _BUILT_IN
    decode: str = _BUILT_IN
    encode: str = _BUILT_IN
    instances: list[_Instance] = []


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    router: RouterSection | None = None
    default_policy_family: str | None = None
    policy_classes: list[_Class] | None = None
    uncached_isl_buckets: list[_Bucket] | None = None
    models: dict[str, Any] = {}  # each a _Profile; msgspec would not say of whose one an error is
    worker_selection: _Selection | None = None
    request_classifier: Any = None


class PolicyFile(msgspec.Struct, frozen=True):
    """What a file says. `weights` is None where the flags hold, `profile` where it has none."""

    router: RouterSection
    weights: CostWeights | None
    profile: PolicyProfile | None
    models: tuple[tuple[str, PolicyProfile], ...]


def read_policy_file(path: str) -> PolicyFile:
    """Raises PolicyError, with the flag and the key."""
    try:
        text = read_file(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PolicyError(f"--router-policy-config {path}: cannot be read: {reason}") from None
    try:
        return parse_policy(text)
    except PolicyError as error:
        raise PolicyError(f"--router-policy-config {path}: {error}") from None


def parse_policy(text: str) -> PolicyFile:
    """Raises PolicyError with the key."""
    try:
        raw = yaml.safe_load(text)
    except RecursionError:
        raise PolicyError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise PolicyError("must be a YAML mapping")
    try:
        document = msgspec.convert(raw, _Document)
    except msgspec.ValidationError as error:
        raise PolicyError(_said(str(error))) from None
    if document == _Document():
        raise PolicyError(
            "must define router settings, a root profile, at least one model profile, or worker_selection"
        )
    if document.request_classifier is not None:
        raise PolicyError("request_classifier is not available in this version")
    return PolicyFile(
        document.router or RouterSection(),
        None if document.worker_selection is None else _weights(document.worker_selection),
        _root_profile(document),
        tuple((name, _model_profile(f"models.{name}", found)) for name, found in document.models.items()),
    )


def _said(text: str, root: str = "") -> str:
    """msgspec's words with the key in front: "Expected `int`, got `str` - at `$.router.x`" -> "router.x: Expected"."""
    found = re.fullmatch(r"(.*) - at `\$(.*)`", text)
    what, place = (text, root) if found is None else (found[1], f"{root}{found[2]}".removeprefix("."))
    return f"{place}: {what}" if place else what


def _model_profile(where: str, raw: Any) -> PolicyProfile:
    try:
        given = msgspec.convert(raw, _Profile)
    except msgspec.ValidationError as error:
        raise PolicyError(_said(str(error), where)) from None
    return _profile(where, given)


def _weights(selection: _Selection) -> CostWeights | None:
    by_name: dict[str, _Instance] = {}
    for instance in selection.instances:
        if instance.name in by_name:
            raise PolicyError(f'worker_selection contains duplicate instance "{instance.name}"')
        by_name[instance.name] = instance
    weights: dict[str, CostWeights] = {}
    for role in ("aggregated", "prefill", "decode", "encode"):
        name = getattr(selection, role)
        if name in by_name:
            weights[role] = _parameters(by_name[name])
        elif name != _BUILT_IN:
            raise PolicyError(f'worker_selection {role} "{name}" does not name a configured instance')
    return weights.get("aggregated")


def _parameters(instance: _Instance) -> CostWeights:
    where = f'worker_selection instance "{instance.name}"'
    if instance.type != _DEFAULT_TYPE:
        raise PolicyError(f"{where}: type {instance.type} is not available in this version, only {_DEFAULT_TYPE}")
    for key, value in instance.parameters.items():
        if key not in CostWeights.__slots__:
            raise PolicyError(f"{where}: unknown parameter `{key}`, expected one of {', '.join(CostWeights.__slots__)}")
        most = 1.0 if key in _BELOW_ONE else float("inf")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == most > 1:
            wanted = "between 0 and 1" if most == 1.0 else "finite and non-negative"
            raise PolicyError(f"{where}: parameter {key} must be {wanted}, got {value!r}")
    return CostWeights(**{key: float(value) for key, value in instance.parameters.items()})


def _root_profile(document: _Document) -> PolicyProfile | None:
    parts = (document.default_policy_family, document.policy_classes, document.uncached_isl_buckets)
    if all(part is None for part in parts):
        return None
    family, classes, buckets = parts
    if family is None or not classes or not buckets:
        raise PolicyError(
            "root profile must specify default_policy_family, uncached_isl_buckets, and policy_classes when any root "
            "profile field is present"
        )
    return _profile("root", _Profile(family, classes, buckets))


def _profile(where: str, given: _Profile) -> PolicyProfile:
    starts = [bucket.min_tokens for bucket in given.uncached_isl_buckets]
    if not starts or starts[0] != 0:
        raise PolicyError(f"{where} uncached_isl_buckets must start at min_tokens 0")
    if any(after <= before for before, after in zip(starts, starts[1:], strict=False)):
        raise PolicyError(f"{where} uncached_isl_buckets min_tokens must be strictly increasing")
    places: dict[tuple[str, str], str] = {}
    names: set[str] = set()
    for entry in given.policy_classes:
        _check_class(f'{where} policy class "{entry.name}"', entry)
        if entry.name in names:
            raise PolicyError(f'{where} contains duplicate policy class "{entry.name}"')
        names.add(entry.name)
        if entry.policy_family is not None and entry.cache_bucket is not None:
            place = (entry.policy_family, entry.cache_bucket)
            if place in places:
                raise PolicyError(
                    f'{where} contains duplicate policy classes for family "{place[0]}" and bucket "{place[1]}"'
                )
            places[place] = entry.name
    _check_families(where, given, places)
    return PolicyProfile(
        tuple(_class(entry) for entry in given.policy_classes),
        given.default_policy_family,
        tuple((bucket.min_tokens, bucket.bucket) for bucket in given.uncached_isl_buckets),
    )


def _check_families(where: str, given: _Profile, places: Mapping[tuple[str, str], str]) -> None:
    families = dict.fromkeys(family for family, _ in places)
    if given.default_policy_family not in families:
        raise PolicyError(
            f'{where} default_policy_family "{given.default_policy_family}" does not name a configured family'
        )
    for family in families:
        for bucket in given.uncached_isl_buckets:
            if (family, bucket.bucket) not in places:
                raise PolicyError(
                    f'{where} is missing a policy class for family "{family}" and bucket "{bucket.bucket}"'
                )


def _check_class(where: str, entry: _Class) -> None:
    if (entry.policy_family is None) != (entry.cache_bucket is None):
        raise PolicyError(f"{where} must specify both policy_family and cache_bucket or neither for an explicit class")
    if entry.quantum < 1:
        raise PolicyError(f"{where} quantum must be greater than zero")
    for name in _Class.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            raise PolicyError(f"{where} {name} must be finite and non-negative")


def _class(entry: _Class) -> PolicyClass:
    return PolicyClass(
        name=entry.name,
        family=entry.policy_family,
        bucket=entry.cache_bucket,
        queue_policy=entry.queue_policy,
        quantum=entry.quantum,
        busy_tokens=entry.prefill_busy_threshold,
        busy_frac=entry.prefill_busy_threshold_frac,
        request_limit=entry.request_queue_limit_per_worker,
        isl_token_limit=entry.raw_isl_token_queue_limit_per_worker,
        cached_token_limit=entry.cached_token_queue_limit_per_worker,
    )
