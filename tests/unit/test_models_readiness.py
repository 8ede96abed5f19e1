"""Stages of a deployment, in the words of the original."""

from __future__ import annotations

from dynamo_fe.models.readiness import NOBODY_READY, Stage, gather, missing_types, model_readiness, namespace_readiness


def test_a_stage_counts_its_live_workers_and_goes_by_its_first_needs() -> None:
    stages = gather([("decode", [["prefill"]], True), ("decode", [], False), ("prefill", [["decode"]], True)])
    assert stages == {"decode": Stage(1, [["prefill"]]), "prefill": Stage(1, [["decode"]])}
    assert missing_types(stages) == []


def test_one_alternative_is_enough() -> None:
    needs = [["prefill", "encode"], ["encode", "decode"]]
    only = {"aggregated": Stage(1, needs)}
    assert missing_types(only) == ["decode", "encode", "prefill"]
    assert missing_types(only | {"encode": Stage(1, []), "decode": Stage(1, [])}) == []
    assert missing_types(only | {"encode": Stage(1, [])}) == ["decode", "prefill"]


def test_a_registered_type_without_live_workers_is_missing() -> None:
    assert namespace_readiness({"aggregated": Stage(0, [])}, None) == {
        "ready": False,
        "reason": "missing worker types: aggregated",
        "worker_types": {"aggregated": {"workers": 0, "needs": []}},
        "present": [],
        "missing_worker_types": ["aggregated"],
    }


def test_ready_in_one_namespace_is_ready() -> None:
    good = namespace_readiness({"aggregated": Stage(2, [])}, None)
    bad = namespace_readiness({"aggregated": Stage(2, [])}, "loading")
    assert good["ready"] and "reason" not in good
    assert (bad["ready"], bad["reason"]) == (False, "loading")
    assert model_readiness("m", {"a": bad, "b": good}) == {
        "model": "m",
        "ready": True,
        "namespaces": {"a": bad, "b": good},
    }
    assert model_readiness("m", {"a": bad})["reason"] == NOBODY_READY
