"""46 states of one API server, in order, against what Dynamo 1.6.1 made of them; and where the join does better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamo_fe.discovery.base import Delete, Put
from dynamo_fe.discovery.kube_join import Join
from dynamo_fe.discovery.kube_paths import ENABLED
from dynamo_fe.discovery.kube_readiness import PodReadiness, SliceReadiness
from dynamo_fe.protocol.card import ModelRecord, decode_model_record
from dynamo_fe.protocol.instance import Instance, parse_instance

FIXTURES = Path(__file__).parent.parent / "fixtures" / "kubernetes"
CASES: list[dict[str, Any]] = json.loads((FIXTURES / "join_cases.json").read_text())
CARD: dict[str, Any] = json.loads((FIXTURES / "card.json").read_text())
ID = 7280383446369164
KEY = f"llmspec/backend/generate/{ID:x}"


class Follower:
    """Makes a server's state known to a join as events would, and keeps what the join tells."""

    def __init__(self, assume_ready: bool = False) -> None:
        self.join = Join(SliceReadiness(assume_ready))
        self.entries: dict[str, bytes] = {}
        self._slices: dict[str, Any] = {}
        self._records: dict[str, Any] = {}

    def show(self, slices: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
        """The whole state from now on. What a selector keeps back never comes."""
        wanted = [
            each for each in slices if "=".join(("nvidia.com/dynamo-discovery-enabled", _enabled(each))) == ENABLED
        ]
        self._slices = self._move(self._slices, wanted, self._put_slice, self._remove_slice)
        self._records = self._move(self._records, records, self.join.put_record, self.join.remove_record)
        assert self.entries == self.join.entries("v1/"), "what was told is not what counts"

    def instances(self) -> list[Instance]:
        return [parse_instance(key, self.entries[key]) for key in self._keys("v1/instances/")]

    def models(self) -> list[ModelRecord]:
        """Those that an endpoint serves."""
        cards = [decode_model_record(self.entries[key]) for key in self._keys("v1/mdc/")]
        served = {(each.namespace, each.component, each.endpoint, each.instance_id) for each in self.instances()}
        return [each for each in cards if (each.namespace, each.component, each.endpoint, each.instance_id) in served]

    def _keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.entries if key.startswith(prefix))

    def _put_slice(self, raw: msgspec.Raw) -> list[Put | Delete]:
        return self.join.settle(self.join.readiness.put(raw))

    def _remove_slice(self, name: str) -> list[Put | Delete]:
        return self.join.settle(self.join.readiness.remove(name))

    def _move(self, before: dict[str, Any], objects: list[dict[str, Any]], put: Any, remove: Any) -> dict[str, Any]:
        after = {each["metadata"]["name"]: each for each in objects}
        for name in before.keys() - after.keys():
            self._take(remove(name))
        for name, each in after.items():
            if before.get(name) != each:
                self._take(put(msgspec.Raw(json.dumps(each))))
        return after

    def _take(self, changes: list[Put | Delete]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self.entries[change.key] = change.value
            else:
                del self.entries[change.key]


def _enabled(labelled: dict[str, Any]) -> str:
    label: str = labelled["metadata"].get("labels", {}).get("nvidia.com/dynamo-discovery-enabled", "")
    return label


def _with_cards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_cards(each) for key, each in value.items()}
    if value == "$card":
        return CARD
    if isinstance(value, str) and value.startswith("$card with context_length "):
        return CARD | {"context_length": int(value.rpartition(" ")[2])}
    return value


def _slice(name: str = "worker-abcde", pod: str = "w0", uid: str = "uid-w0", **conditions: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": pod, "uid": uid}
    endpoint = {"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target}
    return {"metadata": {"name": name, "labels": dict([ENABLED.split("=")])}, "endpoints": [endpoint]}


def _record(data: Any, name: str = "w0", uid: str = "uid-w0") -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    return {"metadata": {"name": name, "uid": f"object-{name}", "ownerReferences": [owner]}, "spec": {"data": data}}


def _endpoint(port: int = 21700, **changes: Any) -> dict[str, Any]:
    place = {"namespace": "llmspec", "component": "backend", "endpoint": "generate", "instance_id": ID}
    return {"type": "Endpoint", **place, "transport": {"tcp": f"127.0.0.1:{port}/x"}} | changes


def _card() -> dict[str, Any]:
    place = {"namespace": "llmspec", "component": "backend", "endpoint": "generate", "instance_id": ID}
    return {"type": "Model", **place, "card_json": CARD}


def test_all_states_in_order() -> None:
    follower = Follower()
    assert len(CASES) == 46
    for case in CASES:
        follower.show(case["endpointslices"], [_with_cards(each) for each in case["dynamoworkermetadatas"]])
        instances = [[each.instance_id, f"{each.host}:{each.port}/{each.path}"] for each in follower.instances()]
        models = [each.card_json.display_name for each in follower.models()]
        assert (models, instances) == (case["models"], case["instances"]), case["id"]


def test_better_than_dynamo_a_changed_card_is_taken_at_once() -> None:
    follower = Follower()
    changed = next(case for case in CASES if case["id"] == "card changed in place")
    follower.show(changed["endpointslices"], [_with_cards(each) for each in changed["dynamoworkermetadatas"]])
    assert [each.card_json.context_length for each in follower.models()] == [2048]


@pytest.mark.parametrize(
    "bad",
    [{"type": "Nonsense"}, 5, None, _endpoint(transport={}), _endpoint(transport={"quic": "x"}), {"type": "Endpoint"}],
    ids=repr,
)
def test_better_than_dynamo_a_bad_entry_costs_that_entry_and_not_the_worker(bad: Any) -> None:
    follower = Follower()
    data = {"endpoints": {"good": _endpoint(), "bad": bad}, "model_cards": {"card": _card()}}
    follower.show([_slice(ready=True)], [_record(data)])
    assert [each.port for each in follower.instances()] == [21700]
    assert [each.card_json.display_name for each in follower.models()] == [CARD["display_name"]]
    assert len(follower.join.remarks()) == 1 and "endpoints bad" in follower.join.remarks()[0]


def test_better_than_dynamo_good_entries_move_on_beside_one_that_turned_bad() -> None:
    follower = Follower()
    other = _endpoint(endpoint="other")
    follower.show([_slice(ready=True)], [_record({"endpoints": {"a": _endpoint(), "b": other}})])
    follower.show([_slice(ready=True)], [_record({"endpoints": {"a": _endpoint(21799), "b": {"type": "Nonsense"}}})])
    assert [(each.endpoint, each.port) for each in follower.instances()] == [("generate", 21799), ("other", 21700)]


def test_of_data_with_a_map_that_is_none_nothing_is_taken() -> None:
    follower = Follower()
    follower.show([_slice(ready=True)], [_record({"endpoints": {"a": _endpoint()}, "model_cards": {"a": _card()}})])
    follower.show([_slice(ready=True)], [_record({"endpoints": {"a": _endpoint(21799)}, "model_cards": [1]})])
    assert [each.port for each in follower.instances()] == [21700]
    assert len(follower.models()) == 1
    assert "model_cards" in follower.join.remarks()[0]


def test_nothing_is_kept_of_another_object_of_the_name() -> None:
    follower = Follower()
    follower.show([_slice(ready=True)], [_record({"endpoints": {"a": _endpoint()}})])
    anew = _record(None) | {"metadata": _record(None)["metadata"] | {"uid": "object-anew"}}
    follower.show([_slice(ready=True)], [anew])
    assert follower.instances() == []
    assert follower.join.counts()["invalid"] == 1


def test_the_same_name_with_a_new_uid_waits_for_its_own_record() -> None:
    follower = Follower()
    data = {"endpoints": {"a": _endpoint()}}
    follower.show([_slice(ready=True)], [_record(data)])
    follower.show([_slice(uid="uid-new", ready=True)], [_record(data)])
    assert follower.instances() == []
    assert "its record is of pod uid uid-w0, the ready pod has uid uid-new" in follower.join.remarks()[0]
    follower.show([_slice(uid="uid-new", ready=True)], [_record(data, uid="uid-new")])
    assert [each.instance_id for each in follower.instances()] == [ID]


@pytest.mark.parametrize("conditions", [{}, {"serving": True}])
def test_an_endpoint_that_says_nothing_of_its_readiness_counts_when_told_so(conditions: dict[str, bool]) -> None:
    for assume_ready in (False, True):
        follower = Follower(assume_ready)
        follower.show([_slice(**conditions)], [_record({"endpoints": {"a": _endpoint()}})])
        assert len(follower.instances()) == assume_ready


@pytest.mark.parametrize(
    ("slices", "record", "state", "words"),
    [
        ([], _record({}), "no_endpoint", "no EndpointSlice names its pod"),
        ([_slice(ready=False)], _record({}), "not_ready", "its pod is not ready"),
        ([_slice(ready=False, terminating=True)], _record({}), "not_ready", "its pod is being deleted"),
        ([_slice(ready=True)], _record({}, uid="other"), "uid_mismatch", "of pod uid other"),
        ([_slice(ready=True)], _record(None), "invalid", "spec.data is not there"),
        ([_slice(ready=True)], _record(7), "invalid", "Expected `object`"),
        ([_slice(ready=True), _slice("two", uid="b", ready=True)], _record({}), "conflict", "b, uid-w0"),
        ([_slice(ready=True)], {"metadata": {"name": "w0"}, "spec": {"data": {}}}, "no_owner", "owned by no Pod"),
    ],
)
def test_every_record_that_is_left_out_is_named_with_the_reason(
    slices: list[dict[str, Any]], record: dict[str, Any], state: str, words: str
) -> None:
    follower = Follower()
    follower.show(slices, [record])
    assert {name: count for name, count in follower.join.counts().items() if count} == {state: 1}
    assert len(follower.join.remarks()) == 1
    assert follower.join.remarks()[0].startswith("worker w0 is left out: ") and words in follower.join.remarks()[0]


def test_instances_of_a_pod_that_is_being_deleted_are_told_apart() -> None:
    follower = Follower()
    data = {"endpoints": {"a": _endpoint()}}
    follower.show([_slice(ready=True, terminating=True)], [_record(data)])
    assert follower.join.leaving() == {ID}
    follower.show([_slice(ready=True)], [_record(data)])
    assert follower.join.leaving() == frozenset()


def test_one_entry_in_two_records_lives_until_the_last_of_them_goes() -> None:
    follower = Follower()
    slices = [_slice(ready=True), _slice("two", "w1", "uid-w1", ready=True)]
    first = _record({"endpoints": {"a": _endpoint(1)}})
    second = _record({"endpoints": {"a": _endpoint(2)}}, "w1", "uid-w1")
    follower.show(slices, [first, second])
    assert [each.port for each in follower.instances()] == [2]
    follower.show(slices, [first])
    assert [each.port for each in follower.instances()] == [1]
    follower.show(slices, [])
    assert follower.instances() == []


def test_containers_register_for_themselves() -> None:
    join = Join(PodReadiness())
    names = ("w0", "w0-engine-0", "w0-engine-1")
    for number, name in enumerate(names):
        endpoint = _endpoint(instance_id=number + 1)
        join.put_record(msgspec.Raw(json.dumps(_record({"endpoints": {"a": endpoint}}, name, "uid-w0"))))
    ready = {"main": True, "engine-0": True, "engine-1": False}
    statuses = [{"name": name, "ready": value} for name, value in ready.items()]
    pod = {"metadata": {"name": "w0", "uid": "uid-w0"}, "status": {"containerStatuses": statuses}}
    assert len(join.settle(join.readiness.put(msgspec.Raw(json.dumps(pod))))) == 2
    assert {key.rpartition("/")[2] for key in join.entries("v1/instances/")} == {"1", "2"}
    # A pod that is being deleted stays until its containers are not ready any more.
    pod["metadata"]["deletionTimestamp"] = "2026-11-25T13:44:23Z"
    assert join.settle(join.readiness.put(msgspec.Raw(json.dumps(pod)))) == []
    assert join.leaving() == {1, 2}
    assert len(join.settle(join.readiness.remove("w0"))) == 2
    assert join.counts()["no_endpoint"] == 3
