"""The YAML of policies: what it says and how it is refused. The refusals are the original's where it has them."""

from pathlib import Path

import pytest

from dynamo_fe.routing.kv.policy_file import PolicyError, parse_policy, read_policy_file
from dynamo_fe.routing.kv.rules import CostWeights

SELECTION = """
worker_selection:
  aggregated: mine
  instances:
    - {name: mine, type: dynamo-default-cost-fn, parameters: {overlap_score_credit: 2, router_temperature: 0.5}}
"""
PROFILE = """
default_policy_family: x
policy_classes:
  - {name: a, policy_family: x, cache_bucket: hot, quantum: 512, prefill_busy_threshold: 7}
  - {name: b, policy_family: x, cache_bucket: cold, quantum: 128, queue_policy: wspt, prefill_busy_threshold_frac: 0.5}
  - {name: c, policy_family: y, cache_bucket: hot, quantum: 1, request_queue_limit_per_worker: 3}
  - {name: d, policy_family: y, cache_bucket: cold, quantum: 1}
  - {name: vip, quantum: 9}
uncached_isl_buckets:
  - {min_tokens: 0, bucket: hot}
  - {min_tokens: 100, bucket: cold}
"""


def classes(*entries: str, buckets: str = "{min_tokens: 0, bucket: c}", family: str = "x") -> str:
    lines = "\n".join(f"- {entry}" for entry in entries)
    return f"default_policy_family: {family}\npolicy_classes:\n{lines}\nuncached_isl_buckets: [{buckets}]\n"


def one(extra: str = "", quantum: str = "10") -> str:
    return f"{{name: a, policy_family: x, cache_bucket: c, quantum: {quantum}{extra}}}"


def test_parameters_of_the_cost_stand_for_all_of_them() -> None:
    assert parse_policy(SELECTION).weights == CostWeights(overlap_score_credit=2.0, router_temperature=0.5)
    assert parse_policy("router: {router_ttl_secs: 5}").weights is None
    assert parse_policy("worker_selection: {aggregated: default}").weights is None


def test_classes_by_family_bucket_and_name() -> None:
    profile = parse_policy(PROFILE).profile
    assert profile is not None
    found = [
        profile.classify(*asked).name
        for asked in ((None, 0), ("x", 99), ("x", 100), ("y", 5000), ("nobody", 0), ("vip", 0))
    ]
    assert found == ["a", "a", "b", "d", "a", "vip"]
    assert profile.classify("y", 0).request_limit == 3
    assert profile.classify("x", 200).queue_policy == "wspt"


def test_profiles_of_single_models() -> None:
    text = "models:\n  m:\n" + "\n".join(f"    {line}" for line in classes(one()).splitlines())
    assert [(name, found.classes[0].name) for name, found in parse_policy(text).models] == [("m", "a")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bogus: 1", "Object contains unknown field `bogus`"),
        ("- a", "must be a YAML mapping"),
        ("{", "not YAML: while parsing a flow node"),
        ("[" * 20_000, "nested too deeply"),
        ("", "must be a YAML mapping"),
        ("{}", "must define router settings"),
        ("router: {bogus: 1}", "router: Object contains unknown field `bogus`"),
        ("router: {router_ttl_secs: x}", "router.router_ttl_secs: Expected `float"),
        ("policy_classes: [{name: a, bogus: 1}]", "policy_classes[0]: Object contains unknown field `bogus`"),
        ("policy_classes: [{name: a}]", "policy_classes[0]: Object missing required field `quantum`"),
        ("models: {m: {policy_classes: []}}", "models.m: Object missing required field"),
        ("models: {m: {policy_classes: [{quantum: x}]}}", "models.m.policy_classes[0]"),
        ("models: {m: 1}", "models.m: Expected `object`, got `int`"),
        ("default_policy_family: x", "root profile must specify default_policy_family, uncached_isl_buckets"),
        (classes(one(quantum="0")), 'root policy class "a" quantum must be greater than zero'),
        (classes(one(", queue_policy: nope")), "policy_classes[0].queue_policy: Invalid enum value 'nope'"),
        (classes(one(", prefill_busy_threshold_frac: -1")), "prefill_busy_threshold_frac must be finite"),
        (classes(one(", prefill_busy_threshold: 1.5")), "policy_classes[0].prefill_busy_threshold: Expected `int"),
        (classes(one(), one()), 'root contains duplicate policy class "a"'),
        (classes(one(), one().replace("name: a", "name: b")), 'duplicate policy classes for family "x" and bucket "c"'),
        (classes(one(), family="y"), 'root default_policy_family "y" does not name a configured family'),
        (classes("{name: a, policy_family: x, quantum: 1}"), "must specify both policy_family and cache_bucket"),
        (classes(one(), buckets="{min_tokens: 5, bucket: c}"), "root uncached_isl_buckets must start at min_tokens 0"),
        (classes(one(), buckets="{min_tokens: 0, bucket: c}, {min_tokens: 0, bucket: c}"), "strictly increasing"),
        (classes(one(), buckets="{min_tokens: 0, bucket: c}, {min_tokens: 9, bucket: d}"), 'family "x" and bucket "d"'),
        ("worker_selection: {aggregated: mine}", 'worker_selection aggregated "mine" does not name'),
        (SELECTION.replace("dynamo-default-cost-fn", "thunderagent"), "type thunderagent is not available"),
        (SELECTION.replace("router_temperature", "seed"), "unknown parameter `seed`"),
        (SELECTION.replace("0.5", "-1"), "parameter router_temperature must be finite and non-negative, got -1"),
        (SELECTION.replace("0.5", ".inf"), "parameter router_temperature must be finite and non-negative, got inf"),
        (SELECTION.replace("0.5", "hot"), "parameter router_temperature must be finite and non-negative, got 'hot'"),
        (SELECTION.replace("router_temperature: 0.5", "host_cache_hit_weight: 1.5"), "must be between 0 and 1"),
        ("request_classifier: {type: x}", "request_classifier is not available in this version"),
    ],
)
def test_refusals_name_the_key(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"--router-policy-config .*policy\.yaml: cannot be read"):
        read_policy_file(str(tmp_path / "policy.yaml"))
    (tmp_path / "policy.yaml").write_text("bogus: 1")
    with pytest.raises(PolicyError, match=r"--router-policy-config .*policy\.yaml: .*bogus"):
        read_policy_file(str(tmp_path / "policy.yaml"))
