"""What our KServe server has that the original's has not, and how it begins and ends."""

from __future__ import annotations

import contextlib
import json
import signal
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from dynamo_fe.grpc import messages
from tests.support.certificates import Authority
from tests.support.frontends import our_command
from tests.support.kserve import WORKERS, KserveFrontend, connected
from tests.support.peer import ROOT, peer_python
from tests.support.processes import Process, free_port
from tests.support.stores import FileStore

MODELS = ("kp-llm", "kp-chat", "kp-tensor", "kp-triton", "kp-noconfig")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    return FileStore(tmp_path_factory.mktemp("kserve-services") / "store")


@pytest.fixture(scope="module")
def workers(store: FileStore) -> Iterator[Process]:
    log = store.directory.parent / "workers.log"
    with Process([peer_python(), WORKERS], log=log, environment=store.environment) as process:
        yield process


@contextlib.contextmanager
def started(store: FileStore, log: Path, *models: str, **options: Any) -> Iterator[KserveFrontend]:
    frontend = KserveFrontend(store, log, **options)
    try:
        frontend.wait_ready(*models)
        yield frontend
    finally:
        frontend.stop()


@pytest.fixture(scope="module")
def both(store: FileStore, workers: Process) -> Iterator[KserveFrontend]:
    """gRPC beside the OpenAI port."""
    log = store.directory.parent / "both.log"
    with started(store, log, *MODELS, beside_http=True, arguments=["--workers", "2"]) as frontend:
        yield frontend


def ask(frontend: KserveFrontend, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body over HTTP; JSON is read."""
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{frontend.http_port}{path}", data=sent)
    request.add_header("content-type", "application/json")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, data, kind = answer.status, answer.read(), answer.headers["content-type"]
    except urllib.error.HTTPError as error:
        status, data, kind = error.code, error.read(), error.headers["content-type"]
    return status, json.loads(data) if kind == "application/json" else data


def prompt(text: str, model: str = "kp-llm", **parameters: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text.encode())
    for name, value in parameters.items():
        kind = {int: "int64_param", float: "double_param", str: "string_param", bool: "bool_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def said(answer: Any) -> str:
    text: str = answer.outputs[0].contents.bytes_contents[0].decode()
    return text


# ---- beside HTTP ----------------------------------------------------------------------------------------------------


def test_grpc_and_openai_are_served_by_one_group_of_processes(both: KserveFrontend) -> None:
    with connected(both) as stub:
        assert said(stub.ModelInfer(prompt("over gRPC"), timeout=20)) == "over gRPC"
    status, answer = ask(both, "/v1/completions", {"model": "kp-llm", "prompt": "over HTTP"})
    assert (status, answer["choices"][0]["text"]) == (200, "over HTTP")
    # one page for all processes
    _, page = ask(both, "/metrics")
    assert b'dynamo_frontend_requests_total{model="kp-llm",endpoint="completions",request_type="unary",' in page


def test_the_sampling_settings_reach_a_worker(both: KserveFrontend) -> None:
    with connected(both) as stub:
        settings = {"max_tokens": 5, "temperature": 0.5, "top_k": 3, "seed": 9, "ignore_eos": True, "n": 2}
        seen = json.loads(said(stub.ModelInfer(prompt("!ctx", stop='["a","b"]', other=1, **settings), timeout=20)))
    assert seen["request"] == settings | {"stop": ["a", "b"], "model": "kp-llm", "prompt": "!ctx", "stream": True}


# ---- more services --------------------------------------------------------------------------------------------------


def call(frontend: KserveFrontend, path: str, request: Any, answer: str) -> Any:
    with grpc.insecure_channel(frontend.address) as channel:
        data = channel.unary_unary(path)(request.SerializeToString(), timeout=20)
    return messages.message(answer).FromString(data)


def test_the_health_service_tells_of_the_server_and_of_models(both: KserveFrontend) -> None:
    def state(name: str) -> int:
        request = messages.HealthCheckRequest(service=name)
        answer = call(both, "/grpc.health.v1.Health/Check", request, "grpc.health.v1.HealthCheckResponse")
        return int(answer.status)

    assert [state(name) for name in ("", messages.KSERVE_SERVICE, "kp-chat")] == [1, 1, 1]
    with pytest.raises(grpc.RpcError) as failure:
        state("nobody")
    assert failure.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_watch_of_health_says_the_state_at_once(both: KserveFrontend) -> None:
    with grpc.insecure_channel(both.address) as channel:
        for name, state in (("kp-llm", 1), ("nobody", 3)):
            request = messages.HealthCheckRequest(service=name).SerializeToString()
            watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(request, timeout=20)
            assert messages.HealthCheckResponse.FromString(next(watching)).status == state
            watching.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_gives_the_files_of_the_services(both: KserveFrontend, version: str) -> None:
    asked = [
        messages.ServerReflectionRequest(list_services=""),
        messages.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService.ModelInfer"),
        messages.ServerReflectionRequest(file_by_filename="health.proto"),
        messages.ServerReflectionRequest(file_containing_symbol="nobody.Nothing"),
    ]
    with grpc.insecure_channel(both.address) as channel:
        method = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        answers = [
            messages.ServerReflectionResponse.FromString(answer)
            for answer in method(iter([request.SerializeToString() for request in asked]), timeout=20)
        ]
    assert messages.KSERVE_SERVICE in [entry.name for entry in answers[0].list_services_response.service]
    assert b"ModelStreamInfer" in answers[1].file_descriptor_response.file_descriptor_proto[0]
    assert b"HealthCheckRequest" in answers[2].file_descriptor_response.file_descriptor_proto[0]
    assert answers[3].error_response.error_code == 5


def test_server_metadata_index_and_statistics_are_answered(both: KserveFrontend) -> None:
    with triton.InferenceServerClient(both.address) as client:
        server = client.get_server_metadata()
        assert server.name == "dynamo-fe"
        told = {"model_configuration", "statistics", "binary_tensor_data", "generate", "parameters"}
        assert set(server.extensions) == told
        index = client.get_model_repository_index()
        assert {(model.name, model.state) for model in index.models} == {(name, "READY") for name in MODELS}
        before = client.get_inference_statistics("kp-tensor").model_stats[0]
        tensor = triton.InferInput("t", [1], "INT32")
        tensor.set_data_from_numpy(numpy.array([1], dtype=numpy.int32))
        client.infer("kp-tensor", [tensor])
        with pytest.raises(triton.InferenceServerException):
            client.infer("kp-tensor", [tensor], parameters={"op": "raise"})
        after = client.get_inference_statistics("kp-tensor").model_stats[0]
        assert after.inference_count - before.inference_count == 1
        assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
        assert after.last_inference >= before.last_inference > 0 or before.inference_count == 0
        with pytest.raises(triton.InferenceServerException, match="not found"):
            client.get_inference_statistics("nobody")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_read(both: KserveFrontend, algorithm: str) -> None:
    with connected(both) as stub:
        compression = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}[algorithm]
        words = "x" * 5000
        assert said(stub.ModelInfer(prompt(words), timeout=20, compression=compression)) == words


# ---- REST -----------------------------------------------------------------------------------------------------------


def test_rest_tells_of_the_server_and_of_models(both: KserveFrontend) -> None:
    assert ask(both, "/v2/health/live") == (200, {"live": True})
    assert ask(both, "/v2/health/ready") == (200, {"ready": True})
    status, server = ask(both, "/v2")
    assert (status, server["name"]) == (200, "dynamo-fe")
    assert ask(both, "/v2/models/kp-llm/ready") == (200, {"name": "kp-llm", "ready": True})
    assert ask(both, "/v2/models/nobody/ready")[0] == 503
    status, model = ask(both, "/v2/models/kp-tensor/versions/1")
    assert (status, model["inputs"][1]) == (200, {"name": "text", "datatype": "BYTES", "shape": [1, 2]})
    assert ask(both, "/v2/models/kp-llm/config")[1]["input"][1]["optional"] is True
    triton_config = ask(both, "/v2/models/kp-triton/config")[1]
    assert triton_config["dynamic_batching"] == {"preferred_batch_size": [4]}
    assert triton_config["parameters"] == {"mode": {"string_value": "fast"}}
    assert triton_config["model_transaction_policy"] == {"decoupled": True}
    assert {entry["name"] for entry in ask(both, "/v2/repository/index", {})[1]} == set(MODELS)
    assert ask(both, "/v2/models/kp-tensor/stats")[0] == 200


def test_rest_infers_with_json(both: KserveFrontend) -> None:
    inputs = [
        {"name": "a", "datatype": "INT64", "shape": [2, 2], "data": [[1, -2], [3, 1 << 60]]},
        {"name": "b", "datatype": "FP32", "shape": [2], "data": [0.5, -1]},
        {"name": "c", "datatype": "BYTES", "shape": [2], "data": ["ab", ""]},
        {"name": "d", "datatype": "BOOL", "shape": [1], "data": [True], "parameters": {"k": "v"}},
    ]
    body = {"id": "mine", "inputs": inputs, "parameters": {"op": "echo", "x": 5}}
    status, answer = ask(both, "/v2/models/kp-tensor/infer", body)
    assert status == 200
    assert (answer["model_name"], answer["id"], answer["parameters"]) == ("kp-tensor", "mine", {"op": "echo", "x": 5})
    flat = {"a": [1, -2, 3, 1 << 60], "b": [0.5, -1], "c": ["ab", ""], "d": [True]}
    assert {output["name"]: output["data"] for output in answer["outputs"]} == flat
    assert answer["outputs"][3]["parameters"] == {"k": "v"}


def test_rest_infers_with_bytes_behind_the_json(both: KserveFrontend) -> None:
    raw = struct.pack("<3e", 1.5, -2.0, 0.0)
    head = json.dumps(
        {
            "inputs": [{"name": "h", "datatype": "FP16", "shape": [3], "parameters": {"binary_data_size": len(raw)}}],
            "outputs": [{"name": "h", "parameters": {"binary_data": True}}],
        }
    ).encode()
    length = {"inference_header_content_length": str(len(head))}
    status, answer = ask(both, "/v2/models/kp-tensor/infer", head + raw, **length)
    assert status == 200
    told, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    assert told["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}
    assert answer[end:] == raw


def test_rest_generates_whole_and_in_pieces(both: KserveFrontend) -> None:
    status, whole = ask(both, "/v2/models/kp-llm/generate", {"text_input": "one two", "id": "g", "max_tokens": 4})
    expected = {"model_name": "kp-llm", "model_version": "1", "id": "g", "text_output": "one two"}
    assert (status, whole) == (200, expected | {"finish_reason": "stop"})
    status, events = ask(both, "/v2/models/kp-llm/generate_stream", {"text_input": "one two"})
    pieces = [json.loads(event.removeprefix(b"data: ")) for event in events.split(b"\n\n") if event]
    assert (status, [piece["text_output"] for piece in pieces]) == (200, ["one", " two"])
    seen = json.loads(ask(both, "/v2/models/kp-llm/generate", {"text_input": "!ctx", "stop": ["x"]})[1]["text_output"])
    assert seen["request"]["stop"] == ["x"]


REST_FAULTS: list[tuple[str, Any, int]] = [
    ("/v2/nothing", None, 404),
    ("/v2/models/", None, 404),
    ("/v2/models/nobody", None, 404),
    ("/v2/models/kp-chat/infer", {"inputs": []}, 404),
    ("/v2/models/kp-noconfig", None, 400),
    ("/v2/models/kp-tensor/infer", b"{", 400),
    ("/v2/models/kp-tensor/infer", b"[%b]" % (b"1," * 1_000_001), 413),
    ("/v2/models/kp-tensor/infer", b"[]", 400),
    ("/v2/models/kp-tensor/infer", {}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [1]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1], "data": [300]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1], "data": ["x"]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": [5]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "BOOL", "shape": [1], "data": [1]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "FP16", "shape": [1], "data": [1.0]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "INT8", "shape": [2], "data": [1]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [{"name": "a", "datatype": "INT8", "shape": ["1"], "data": [1]}]}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [], "parameters": {"k": [1]}}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [], "parameters": 5}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [], "parameters": {"op": "raise"}}, 400),
    ("/v2/models/kp-tensor/infer", {"inputs": [], "parameters": {"op": "none"}}, 500),
    ("/v2/models/kp-llm/generate", {"text_input": 5}, 400),
    ("/v2/models/kp-llm/generate", {"text_input": "x", "temperature": 9}, 400),
    ("/v2/models/kp-llm/generate_stream", {"text_input": "x", "max_tokens": "many"}, 400),
    ("/v2/models/kp-llm/generate", {"text_input": "!raise HttpError:404 gone"}, 404),
    ("/v2/models/kp-llm/generate", {"text_input": "!raise HttpError:429 slow"}, 429),
    ("/v2/models/kp-llm/generate_stream", {"text_input": "!raise ValueError x"}, 400),
    ("/v2/models/kp-llm/generate_stream", {"text_input": "!raise RuntimeError x"}, 500),
    ("/v2/models/kp-llm/generate", None, 405),
    ("/v2/health/live", {}, 405),
]


@pytest.mark.parametrize(("path", "body", "status"), REST_FAULTS)
def test_rest_refuses_with_a_reason(both: KserveFrontend, path: str, body: Any, status: int) -> None:
    found, answer = ask(both, path, body)
    assert found == status
    assert answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v2/models/kp-llm/infer", "POST"),
        ("GET", "/v2/repository/index", "POST"),
        ("DELETE", "/v2/models/kp-llm", "GET,HEAD"),
        ("PUT", "/v2/health/live", "GET,HEAD"),
    ],
)
def test_rest_says_which_methods_a_path_takes(both: KserveFrontend, method: str, path: str, allow: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{both.http_port}{path}", method=method)
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(request, timeout=30)
    assert (failure.value.code, failure.value.headers["allow"]) == (405, allow)
    assert method in json.loads(failure.value.read())["error"]


def test_a_limit_of_rate_says_when_to_come_back(both: KserveFrontend) -> None:
    body = json.dumps({"text_input": "!raise HttpError:429 slow"}).encode()
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(f"http://127.0.0.1:{both.http_port}/v2/models/kp-llm/generate", body, timeout=30)
    assert (failure.value.code, failure.value.headers["retry-after"]) == (429, "1")
    with connected(both) as stub, pytest.raises(grpc.RpcError) as missing:
        stub.ModelInfer(prompt("!raise HttpError:404 gone"), timeout=20)
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


def counted(frontend: KserveFrontend, series: str) -> int:
    """The sum of all series that begin so."""
    _, page = ask(frontend, "/metrics")
    lines = [line for line in page.decode().splitlines() if line.startswith(series)]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


def test_a_stream_cancelled_while_its_answers_wait_is_an_ordinary_cancellation(both: KserveFrontend) -> None:
    cancelled = 'dynamo_frontend_model_cancellation_total{model="kp-tensor"'
    waiting = 'dynamo_fe_bytes_buffered{towards="clients"'
    request = service_pb2.ModelInferRequest(model_name="kp-tensor", raw_input_contents=[bytes(1 << 15)])
    request.inputs.add(name="x", datatype="UINT8", shape=[1 << 15])
    request.parameters["op"].string_param = "repeat"
    request.parameters["n"].int64_param = 400
    before, streams = counted(both, cancelled), 8
    with contextlib.ExitStack() as stack:
        stubs = [stack.enter_context(connected(both)) for _ in range(streams)]
        calls = [stub.ModelStreamInfer(iter([request]), timeout=120) for stub in stubs]
        for call in calls:
            next(call)
        # nobody reads on
        both.process.wait_until(lambda: counted(both, waiting) >= streams << 17, "answers that wait", 60)
        for call in calls:
            call.cancel()
        both.process.wait_until(lambda: counted(both, cancelled) == before + streams, "all counted as cancelled")
    assert "a call failed" not in both.process.output()


def test_a_worker_that_was_killed_is_unavailable(tmp_path: Path) -> None:
    own = FileStore(tmp_path / "store")
    with (
        Process([peer_python(), WORKERS], log=tmp_path / "workers.log", environment=own.environment) as killed,
        started(own, tmp_path / "frontend.log", "kp-llm", "kp-tensor", beside_http=True) as frontend,
    ):
        killed.send_signal(signal.SIGKILL)
        killed.wait_for_exit()
        # its lease still stands
        with connected(frontend) as stub, pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(prompt("anybody?"), timeout=20)
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        inputs = {"inputs": [{"name": "a", "datatype": "INT8", "shape": [1], "data": [1]}]}
        assert ask(frontend, "/v2/models/kp-tensor/infer", inputs)[0] == 503


def test_strict_has_none_of_these(store: FileStore, workers: Process, tmp_path: Path) -> None:
    arguments = ["--kserve-strict"]
    with started(store, tmp_path / "strict.log", "kp-llm", arguments=arguments, beside_http=True) as frontend:
        assert ask(frontend, "/v2/health/live")[0] == 404
        for path in ("/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerMetadata"):
            with pytest.raises(grpc.RpcError) as failure:
                call(frontend, path, messages.HealthCheckRequest(), "grpc.health.v1.HealthCheckResponse")
            assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")
        with connected(frontend) as stub, pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(prompt("x" * 500), timeout=20, compression=grpc.Compression.Gzip)
        assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


# ---- the ports, TLS, the end ----------------------------------------------------------------------------------------


def test_the_http_side_describes_and_infers_nothing(store: FileStore, workers: Process, tmp_path: Path) -> None:
    with started(store, tmp_path / "grpc.log", *MODELS) as frontend:
        assert ask(frontend, "/live") == (200, {"status": "live", "message": "Service is live"})
        assert ask(frontend, "/health") == (200, {"status": "healthy", "endpoints": [], "instances": []})
        assert {entry["id"] for entry in ask(frontend, "/v1/models")[1]["data"]} == set(MODELS)
        assert ask(frontend, "/busy_threshold") == (200, {"thresholds": []})
        for path in ("/v1/completions", "/v1/chat/completions", "/v2/models/kp-llm/generate"):
            assert ask(frontend, path, {"model": "kp-llm", "prompt": "x"})[0] == 404


@pytest.mark.parametrize("taken", ["port", "http_port"])
def test_a_port_in_use_is_said_in_one_line(store: FileStore, workers: Process, tmp_path: Path, taken: str) -> None:
    with started(store, tmp_path / "first.log", "kp-llm") as first:
        ports = {"port": free_port(), "http_port": free_port()} | {taken: getattr(first, taken)}
        argv = [*our_command(), "--kserve-grpc-server", "--http-host", "127.0.0.1"]
        argv += ["--http-port", str(ports["port"]), "--grpc-metrics-port", str(ports["http_port"])]
        second = Process(argv, log=tmp_path / "second.log", environment=store.environment, cwd=ROOT)
        assert second.wait_for_exit() == 1
        assert f"port {ports[taken]} already in use" in second.output()


def test_tls_with_the_flags_of_the_http_server(store: FileStore, workers: Process, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client", server=False)
    files = ["--tls-cert-path", str(server.certificate), "--tls-key-path", str(server.key)]
    files += ["--tls-client-ca-cert-path", str(authority.certificate)]
    frontend = KserveFrontend(store, tmp_path / "tls.log", arguments=files)
    try:
        trusted = authority.certificate.read_bytes()
        known = grpc.ssl_channel_credentials(trusted, client.key.read_bytes(), client.certificate.read_bytes())
        with grpc.secure_channel(frontend.address, known) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            assert channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20) == b"\x08\x01"
        for stranger in (grpc.ssl_channel_credentials(trusted), None):
            channel = (
                grpc.secure_channel(frontend.address, stranger) if stranger else grpc.insecure_channel(frontend.address)
            )
            with channel, pytest.raises(grpc.RpcError) as failure:
                channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=10)
            assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        frontend.stop()


def test_at_sigterm_running_calls_end_well_and_nothing_new_is_taken(
    store: FileStore, workers: Process, tmp_path: Path
) -> None:
    with started(store, tmp_path / "drain.log", "kp-llm") as frontend, connected(frontend) as stub:
        feed = threading.Event()

        def requests() -> Iterator[Any]:
            request = prompt("!slow 40")
            request.inputs.add(name="streaming", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
            yield request
            feed.wait(30)

        running = stub.ModelStreamInfer(requests(), timeout=60)
        next(running)
        # half-closed: nothing more is to come on it
        feed.set()
        with connected(frontend) as other:
            other.ServerLive(service_pb2.ServerLiveRequest(), timeout=10)
            frontend.process.send_signal(signal.SIGTERM)
            rest = [answer.infer_response for answer in running]
            assert said(rest[-1]) == "end"
            assert running.code() == grpc.StatusCode.OK
            assert frontend.process.wait_for_exit() == 0
            with pytest.raises(grpc.RpcError):
                other.ServerLive(service_pb2.ServerLiveRequest(), timeout=5)


def test_a_stream_that_outlives_the_drain_is_ended_with_a_reason(
    store: FileStore, workers: Process, tmp_path: Path
) -> None:
    quick = ["--drain-timeout-secs", "1"]
    with started(store, tmp_path / "drain.log", "kp-llm", arguments=quick) as frontend, connected(frontend) as stub:
        request = prompt("!slow 4000")
        request.inputs.add(name="streaming", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
        running = stub.ModelStreamInfer(iter([request]), timeout=60)
        next(running)
        frontend.process.send_signal(signal.SIGTERM)
        *_, last = running
        assert "shutting down" in last.error_message
        assert running.code() == grpc.StatusCode.OK
        assert frontend.process.wait_for_exit() == 0


def test_an_idle_stream_does_not_hold_up_the_end(store: FileStore, workers: Process, tmp_path: Path) -> None:
    with started(store, tmp_path / "idle.log", "kp-llm") as frontend, connected(frontend) as stub:
        feed = threading.Event()

        def requests() -> Iterator[Any]:
            yield prompt("hello")
            feed.wait(30)

        running = stub.ModelStreamInfer(requests(), timeout=60)
        assert said(next(running).infer_response) == "hello"
        frontend.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as failure:
            next(running)
        feed.set()
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert frontend.process.wait_for_exit() == 0
