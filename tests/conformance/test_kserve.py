"""Every recorded case of KServe over gRPC, against our server in front of a real worker that plays the case.

Once with `--kserve-strict`, where all must be equal, and once without, where `better` lists what differs.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2

from dynamo_fe.grpc import messages
from tests.support.kserve import KserveFrontend, ScriptedModels, ask, cases, connected, to_dict
from tests.support.stores import FileStore

FILES = ("health", "metadata", "llm_unary", "llm_stream", "tensor_unary", "tensor_stream")
CASES = [pytest.param(case, id=f"{name}:{case['id']}") for name in FILES for case in cases(f"{name}.json")]
STRICT, BETTER = "--kserve-strict", "--no-kserve-strict"
ANSWERED_TOO = {"ServerMetadata", "ModelStatistics", "RepositoryIndex"}
FOLDING = "Failed to fold completions stream: "


class Deployment:
    """A worker, and frontends of both modes: some see its models, some look into an empty namespace."""

    def __init__(self, models: ScriptedModels, stubs: dict[tuple[str, bool], Any]) -> None:
        self.models = models
        self._stubs = stubs

    def stub(self, mode: str, case: dict[str, Any]) -> Any:
        return self._stubs[mode, not case["id"].endswith("-no-models")]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("kserve")
    store = FileStore(home / "store")
    with contextlib.ExitStack() as stack:
        models = ScriptedModels(store, home / "control")
        stack.callback(models.stop)
        frontends = {}
        for mode in (STRICT, BETTER):
            for sees_models in (True, False):
                arguments = [mode] if sees_models else [mode, "--namespace", "nobody"]
                frontend = KserveFrontend(store, home / f"frontend{mode}-{sees_models}.log", arguments=arguments)
                stack.callback(frontend.stop)
                frontends[mode, sees_models] = frontend
        stubs = {}
        for key, frontend in frontends.items():
            frontend.wait_ready(*(models.names if key[1] else ()))
            stubs[key] = stack.enter_context(connected(frontend))
        yield Deployment(models, stubs)


def better(case: dict[str, Any]) -> dict[str, Any]:
    """The case as it goes without `--kserve-strict`: each of these differences stands in README."""
    case = copy.deepcopy(case)
    status = case["status"]
    if case["rpc"] in ANSWERED_TOO:
        # answered where the original does not know the method
        case["status"] = {"code": "OK", "message": ""}
    if case["id"] == "parameters-ignored":
        # sampling settings reach the worker, in single precision
        case["worker"][0]["sees"] |= {"max_tokens": 3, "temperature": 0.10000000149011612}
    if status["message"].startswith(f"{FOLDING}InvalidRequest: "):
        # a worker's word that the client is at fault is told as such
        case["status"] = {"code": "INVALID_ARGUMENT", "message": status["message"].removeprefix(FOLDING)}
    if status["message"].startswith(f"{FOLDING}RateLimited: "):
        case["status"] = {"code": "RESOURCE_EXHAUSTED", "message": status["message"].removeprefix(FOLDING)}
    if case["id"] in ("final-response-flag-ignored", "final-flag-is-an-ordinary-parameter"):
        mark_the_end(case)
    return case


def mark_the_end(case: dict[str, Any]) -> None:
    """Answers say whether they are the final one; an empty one is added unless a worker has marked its own last."""
    answers = [response["infer_response"] for response in case["responses"]]
    for answer in answers:
        answer.setdefault("parameters", {}).setdefault("triton_final_response", {"bool_param": False})
    if not answers[-1]["parameters"]["triton_final_response"]["bool_param"]:
        empty = {key: answers[-1][key] for key in ("model_name", "model_version", "id")}
        empty["parameters"] = {"triton_final_response": {"bool_param": True}}
        case["responses"].append({"infer_response": empty})


def check(deployment: Deployment, mode: str, case: dict[str, Any]) -> None:
    models = deployment.models
    models.forget()
    models.say(case.get("worker", []))
    found = ask(deployment.stub(mode, case), case)
    assert found["status"] == case["status"]
    if "responses" in case or "response" in case:
        assert found == {key: case[key] for key in ("status", "response", "responses") if key in case}
    saw = models.saw()
    assert [entry["request"] for entry in saw] == [entry["sees"] for entry in case.get("worker", [])]
    for seen, told in zip(saw, case.get("worker", []), strict=True):
        assert seen["metadata"] == told.get("sees_metadata", {})
        if "context_id" in told:
            assert seen["id"] == told["context_id"]


@pytest.mark.parametrize("case", CASES)
def test_strict_every_case_goes_as_it_was_recorded(deployment: Deployment, case: dict[str, Any]) -> None:
    check(deployment, STRICT, case)


@pytest.mark.parametrize("case", CASES)
def test_by_default_it_goes_so_but_for_what_is_better(deployment: Deployment, case: dict[str, Any]) -> None:
    check(deployment, BETTER, better(case))


@pytest.mark.parametrize("example", cases("wire.json"), ids=lambda example: str(example["message"]))
def test_our_proto_reads_and_writes_the_bytes_of_the_wire(example: dict[str, Any]) -> None:
    recorded = bytes.fromhex(example["hex"])
    ours = messages.message(example["message"]).FromString(recorded)
    name = example["message"].removeprefix("inference.")
    theirs = getattr(model_config_pb2, name, None) or getattr(service_pb2, name)
    # what our definition does not name is kept all the same
    assert to_dict(theirs.FromString(ours.SerializeToString())) == example["json"]
    if name != "ModelConfigResponse":
        assert ours.SerializeToString(deterministic=True) == recorded
        assert json_format.ParseDict(example["json"], type(ours)()) == ours


def test_every_field_of_our_proto_is_one_of_the_public_protocol() -> None:
    for name in messages.method_names(messages.KSERVE_SERVICE):
        method = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
        for theirs in (method.input_type, method.output_type):
            compare(messages.pool.FindMessageTypeByName(theirs.full_name), theirs, set())


def compare(ours: Any, theirs: Any, done: set[str]) -> None:
    if ours.full_name in done:
        return
    done.add(ours.full_name)
    for field in ours.fields:
        public = theirs.fields_by_number[field.number]
        assert (field.name, field.type, field.is_repeated) == (public.name, public.type, public.is_repeated)
        if field.message_type is not None:
            compare(field.message_type, public.message_type, done)
        if field.enum_type is not None:
            assert set(field.enum_type.values_by_name) == set(public.enum_type.values_by_name)
