"""KServe's two ends for tests: real workers of text and tensor models, frontends that speak gRPC, a client's stub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from tests.support.frontends import our_command
from tests.support.peer import READY_SECS, ROOT, peer_python
from tests.support.processes import Process, free_port
from tests.support.stores import Store

FIXTURES = Path(__file__).parent.parent / "fixtures" / "kserve"
SCRIPT = Path(__file__).parent / "kserve_script.py"
WORKERS = Path(__file__).parent / "kserve_workers.py"
CALL_SECS = 30.0


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    found: list[dict[str, Any]] = json.loads((FIXTURES / name).read_text())
    return found


class ScriptedModels:
    """The models of the fixtures on a real worker (kserve_script.py)."""

    def __init__(self, store: Store, control: Path) -> None:
        self.control = control
        control.mkdir(parents=True)
        self.forget()
        self.say([])
        registrations = {case["registration"]["model_name"]: case["registration"] for case in _registrations()}
        (control / "models.json").write_text(json.dumps(list(registrations.values())))
        argv = [peer_python(), SCRIPT, "--control", control, "--discovery-backend", store.backend]
        self.process = Process(argv, log=control / "worker.log", environment=store.environment)
        self.names = set(registrations)

    def say(self, entries: list[dict[str, Any]]) -> None:
        """What the coming requests are answered."""
        draft = self.control / "say.json.new"
        draft.write_text(json.dumps(entries))
        draft.replace(self.control / "say.json")

    def forget(self) -> None:
        (self.control / "saw.jsonl").write_text("")

    def saw(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.control / "saw.jsonl").read_text().splitlines()]

    def stop(self) -> None:
        self.process.stop()


def _registrations() -> Iterator[dict[str, Any]]:
    for case in cases("metadata.json"):
        if "registration" not in case:
            continue
        triton = (case["registration"].get("tensor_model_config") or {}).get("triton_model_config")
        if isinstance(triton, dict):
            message = json_format.ParseDict(triton, model_config_pb2.ModelConfig())
            case["registration"]["tensor_model_config"]["triton_model_config"] = list(message.SerializeToString())
        yield case


class KserveFrontend:
    """A frontend process whose gRPC port is `port`; `http_port` is that of the HTTP server beside it."""

    def __init__(
        self,
        store: Store,
        log: Path,
        *,
        arguments: Sequence[str] = (),
        command: Sequence[str | Path] | None = None,
        environment: Mapping[str, str] | None = None,
        beside_http: bool = False,
    ) -> None:
        self.port, self.http_port = free_port(), free_port()
        ports = ["--kserve-grpc-server", "--http-port", str(self.port), "--grpc-metrics-port", str(self.http_port)]
        if beside_http:
            ports = ["--grpc-port", str(self.port), "--http-port", str(self.http_port)]
        argv = [*(command or our_command()), "--http-host", "127.0.0.1", *ports, *arguments]
        variables = store.environment | {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "0"} | dict(environment or {})
        self.process = Process(argv, log=log, environment=variables, cwd=ROOT)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self, *models: str) -> None:
        """Wait until all these models can be asked, or until it listens where none is named."""
        with connected(self) as stub:

            def ready() -> bool:
                try:
                    if not models:
                        return bool(stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=2).live)
                    asked = [service_pb2.ModelReadyRequest(name=name) for name in models]
                    return all(stub.ModelReady(request, timeout=2).ready for request in asked)
                except grpc.RpcError:
                    return False

            self.process.wait_until(ready, f"{models} by gRPC", READY_SECS)

    def stop(self) -> None:
        self.process.stop()


def real_kserve(store: Store, log: Path, **options: Any) -> KserveFrontend:
    """The real one."""
    return KserveFrontend(store, log, command=[peer_python(), "-m", "dynamo.frontend"], **options)


@contextmanager
def connected(frontend: KserveFrontend, **options: Any) -> Iterator[Any]:
    """A stub on a connection of its own, without limits of the client's side."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    given = [*unlimited, ("grpc.use_local_subchannel_pool", 1), *options.items()]
    with grpc.insecure_channel(frontend.address, options=given) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def to_dict(message: Any) -> dict[str, Any]:
    """The JSON mapping of a message, with the names of the .proto."""
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def request_class(rpc: str) -> Any:
    """The class of a method's request."""
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    return getattr(service_pb2, methods[rpc].input_type.name)


def ask(stub: Any, case: dict[str, Any]) -> dict[str, Any]:
    """What a case brings, in the terms of the fixtures: `status`, and `response` or `responses`."""
    rpc, cls = case["rpc"], request_class(case["rpc"])
    metadata = list(case.get("metadata", {}).items())
    if rpc == "ModelStreamInfer":
        requests = [json_format.ParseDict(request, cls()) for request in case["requests"]]
        call = stub.ModelStreamInfer(iter(requests), timeout=CALL_SECS, metadata=metadata)
        responses: list[dict[str, Any]] = []
        try:
            responses.extend(to_dict(message) for message in call)
        except grpc.RpcError as error:
            return {"status": _status(error), "responses": responses}
        return {"status": {"code": "OK", "message": ""}, "responses": responses}
    try:
        request = json_format.ParseDict(case.get("request", {}), cls())
        answer = getattr(stub, rpc)(request, timeout=CALL_SECS, metadata=metadata)
    except grpc.RpcError as error:
        return {"status": _status(error)}
    return {"status": {"code": "OK", "message": ""}, "response": to_dict(answer)}


def _status(error: Any) -> dict[str, str]:
    return {"code": error.code().name, "message": error.details() or ""}
