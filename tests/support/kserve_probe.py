#!/usr/bin/env python3
"""Conformance probe for a KServe v2 gRPC frontend, built on tritonclient.

    kserve_probe.py HOST:PORT MODEL [--metrics HOST:PORT] [--more FILE]

MODEL is a completions model; with the workers of kserve_workers.py running it
is `kp-llm`, and the models kp-chat, kp-tensor, kp-triton and kp-noconfig are
found next to it. Cases whose model is not served (or, for the HTTP cases,
without --metrics) are skipped. Another completions model may be given as MODEL:
then only the cases that hold for any such model run against it, and the exact
ones still use kp-llm when it is there. (The stock mocker cannot be that model:
it wants a token limit, which a KServe request cannot carry, so the original
server fails both any-model cases with it.)

Prints one line per case and a summary; exit status 1 if anything failed.

Needs: tritonclient[grpc] (brings grpcio, protobuf, numpy).

A case is JSON: either an RPC
    {"id", "needs": [...], "rpc", "request" | "requests", "metadata", "timeout",
     "expect": {"code", "says", "response" | "responses" | "count" | "each",
                "text", "tail", "output_json"}}
or a client action
    {"id", "needs", "client": NAME, "args": {...}}
Patterns: a dict must match key by key with no extra keys, unless it has
"...": true; "<any>", "<nonempty>", "<int>" match loosely; "b64:TEXT" is the
base64 of TEXT. "$MODEL", "$LLM", "$CHAT", "$TENSOR", "$TRITON", "$NOCONFIG" are
replaced by model names.
"""

import argparse
import base64
import json
import os
import queue
import struct
import sys
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import tritonclient.grpc as tc
from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pbg
from tritonclient.utils import InferenceServerException

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = {
    "$LLM": "kp-llm",
    "$CHAT": "kp-chat",
    "$TENSOR": "kp-tensor",
    "$TRITON": "kp-triton",
    "$NOCONFIG": "kp-noconfig",
}


class Failed(Exception):
    pass


def check(ok, why):
    if not ok:
        raise Failed(why)


# ------------------------------------------------------------------ patterns
def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def match(pattern, value, path="$"):
    if isinstance(pattern, dict):
        check(isinstance(value, dict), f"{path}: expected object, got {value!r}")
        open_ended = pattern.get("...", False)
        for key, sub in pattern.items():
            if key == "...":
                continue
            check(key in value, f"{path}.{key}: missing (have {sorted(value)})")
            match(sub, value[key], f"{path}.{key}")
        extra = sorted(set(value) - set(pattern))
        check(open_ended or not extra, f"{path}: unexpected {extra}")
    elif isinstance(pattern, list):
        check(isinstance(value, list), f"{path}: expected list, got {value!r}")
        check(len(pattern) == len(value), f"{path}: {len(value)} items, expected {len(pattern)}: {str(value)[:300]}")
        for n, (sub, val) in enumerate(zip(pattern, value, strict=False)):
            match(sub, val, f"{path}[{n}]")
    elif pattern == "<any>":
        pass
    elif pattern == "<nonempty>":
        check(bool(value), f"{path}: empty")
    elif pattern == "<int>":
        check(isinstance(value, int) and not isinstance(value, bool), f"{path}: not an int: {value!r}")
    elif isinstance(pattern, str) and pattern.startswith("b64:"):
        check(value == b64(pattern[4:]), f"{path}: {base64.b64decode(value)!r}, expected {pattern[4:]!r}")
    else:
        check(
            pattern == value and isinstance(pattern, bool) == isinstance(value, bool),
            f"{path}: {value!r}, expected {pattern!r}",
        )


def to_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


# ------------------------------------------------------------------ the probe
class Probe:
    def __init__(self, address, model, metrics):
        self.address, self.metrics = address, metrics
        self.names = dict(NAMES)
        self.names["$MODEL"] = model
        big = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options=big)
        self.stub = pbg.GRPCInferenceServiceStub(self.channel)
        self.have = {"model"}
        for key, name in NAMES.items():
            try:
                if self.stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=10).ready:
                    self.have.add(key[1:].lower())
            except grpc.RpcError:
                pass
        if metrics:
            self.have.add("metrics")

    def client(self):
        return tc.InferenceServerClient(self.address)

    def subst(self, o):
        if isinstance(o, dict):
            return {self.subst(k): self.subst(v) for k, v in o.items()}
        if isinstance(o, list):
            return [self.subst(x) for x in o]
        if isinstance(o, str):
            for key, name in self.names.items():
                o = o.replace(key, name)
        return o

    def run(self, case):
        case = self.subst(case)
        if "client" in case:
            return getattr(self, "c_" + case["client"])(**case.get("args", {}))
        rpc, exp = case["rpc"], case["expect"]
        method = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[rpc]
        cls = getattr(pb, method.input_type.name)
        md = list(case["metadata"].items()) if "metadata" in case else None
        timeout = case.get("timeout", 20)
        got, responses, details = None, [], ""
        try:
            if rpc == "ModelStreamInfer":
                reqs = [json_format.ParseDict(r, cls()) for r in case["requests"]]
                for r in self.stub.ModelStreamInfer(iter(reqs), timeout=timeout, metadata=md):
                    responses.append(to_dict(r))
            else:
                req = json_format.ParseDict(case.get("request", {}), cls())
                got = to_dict(getattr(self.stub, rpc)(req, timeout=timeout, metadata=md))
            code = "OK"
        except grpc.RpcError as e:
            code, details = e.code().name, e.details() or ""
        want = exp.get("code", "OK")
        want = want if isinstance(want, list) else [want]
        check(code in want, f"status {code} {details!r}, expected {'/'.join(want)}")
        if "says" in exp:
            check(exp["says"] in details, f"message {details!r} lacks {exp['says']!r}")
        if "response" in exp:
            match(exp["response"], got)
        if "responses" in exp:
            match(exp["responses"], responses)
        if "count" in exp:
            check(len(responses) == exp["count"], f"{len(responses)} responses, expected {exp['count']}")
        if "at_least" in exp:
            check(len(responses) >= exp["at_least"], f"only {len(responses)} responses")
        if "each" in exp:
            for n, r in enumerate(responses):
                match(exp["each"], r, f"[{n}]")
        if "text" in exp:
            parts = (
                [r["infer_response"] for r in responses if "infer_response" in r]
                if rpc == "ModelStreamInfer"
                else [got]
            )
            text = b"".join(self.elements(p, "text_output")[0] for p in parts if self.elements(p, "text_output"))
            check(text.decode() == exp["text"], f"text {text!r}, expected {exp['text']!r}")
        if "output_json" in exp:
            name = exp["output_json"]["name"]
            source = got if got is not None else responses[-1]["infer_response"]
            match(exp["output_json"]["value"], json.loads(self.elements(source, name)[0]), name)

    @staticmethod
    def elements(response, name):
        """BYTES elements of an output, from contents or raw_output_contents."""
        for n, o in enumerate(response.get("outputs", [])):
            if o["name"] != name:
                continue
            if "raw_output_contents" in response:
                raw, out = base64.b64decode(response["raw_output_contents"][n]), []
                while raw:
                    (size,) = struct.unpack("<I", raw[:4])
                    out.append(raw[4 : 4 + size])
                    raw = raw[4 + size :]
                return out
            return [base64.b64decode(x) for x in o.get("contents", {}).get("bytes_contents", [])]
        raise Failed(f"no output {name!r}")

    # -------------------------------------------------------- helpers
    @staticmethod
    def text_input(text):
        i = tc.InferInput("text_input", [1], "BYTES")
        i.set_data_from_numpy(np.array([text.encode()], dtype=object))
        return i

    @staticmethod
    def streaming(value, name="streaming"):
        i = tc.InferInput(name, [1], "BOOL")
        i.set_data_from_numpy(np.array([value], dtype=bool))
        return i

    @staticmethod
    def out(result, name):
        # as_numpy of tritonclient 2.73 cannot read typed BYTES contents under
        # numpy 2, so typed answers are read from the message itself
        return [bytes(x) for x in result.get_output(name).contents.bytes_contents]

    def llm_request(self, model, text, stream=None, id=""):
        r = pb.ModelInferRequest(model_name=model, id=id)
        r.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text.encode())
        if stream is not None:
            r.inputs.add(name="streaming", datatype="BOOL", shape=[1]).contents.bool_contents.append(stream)
        return r

    def tensor_request(self, model, op, id="", **params):
        r = pb.ModelInferRequest(model_name=model, id=id)
        r.inputs.add(name="x", datatype="INT32", shape=[1]).contents.int_contents.append(1)
        r.parameters["op"].string_param = op
        for k, v in params.items():
            if isinstance(v, int):
                r.parameters[k].int64_param = v
            else:
                r.parameters[k].string_param = v
        return r

    def cancels(self, kind):
        if kind == "llm":
            r = self.stub.ModelInfer(self.llm_request(self.names["$LLM"], "!cancels"), timeout=10)
            return int(r.outputs[0].contents.bytes_contents[0])
        r = self.stub.ModelInfer(self.tensor_request(self.names["$TENSOR"], "cancels"), timeout=10)
        return r.parameters["cancels"].int64_param

    def slow(self, kind, stream, n=200):
        if kind == "llm":
            return self.llm_request(self.names["$LLM"], f"!slow {n}", stream)
        return self.tensor_request(self.names["$TENSOR"], "slow" if stream else "hang", n=n)

    def wait_cancel(self, kind, before, seconds=10):
        end = time.time() + seconds
        while time.time() < end:
            if self.cancels(kind) > before:
                return
            time.sleep(0.2)
        raise Failed("the worker was not told to stop")

    @staticmethod
    def expect_error(fn, code, says=None):
        try:
            fn()
        except InferenceServerException as e:
            status = (e.status() or "").replace("StatusCode.", "")
            codes = code if isinstance(code, list) else [code]
            check(status in codes, f"{status} {e.message()!r}, expected {codes}")
            if says:
                check(says in (e.message() or ""), f"message {e.message()!r} lacks {says!r}")
            return
        raise Failed(f"no error, expected {code}")

    # -------------------------------------------------------- client actions
    def c_health(self, model, ready=True, live=True):
        c = self.client()
        check(c.is_server_live() is live, "server live")
        check(c.is_server_ready() is True, "server ready")
        check(c.is_model_ready(model) is ready, f"model ready of {model!r} is not {ready}")

    def c_unimplemented(self, method, args=()):
        self.expect_error(lambda: getattr(self.client(), method)(*args), "UNIMPLEMENTED")

    def c_metadata(self, model, inputs, outputs, name=None, platform="dynamo"):
        m = self.client().get_model_metadata(model)
        check(
            m.name == (name or model) and list(m.versions) == ["1"] and m.platform == platform,
            f"head {m.name!r} {list(m.versions)} {m.platform!r}",
        )
        for want, have in ((inputs, m.inputs), (outputs, m.outputs)):
            have = [[t.name, t.datatype, list(t.shape)] for t in have]
            check(have == want, f"{have} expected {want}")

    def c_infer_text(self, model, text, answer=None, finish=None, stream=None, id="", error=None, says=None):
        inputs = [self.text_input(text)]
        if stream is not None:
            inputs.append(self.streaming(stream))
        def call():
            return self.client().infer(model, inputs, request_id=id, client_timeout=20)
        if error:
            return self.expect_error(call, error, says)
        r = call()
        check(r.get_response().id == id, f"id {r.get_response().id!r}")
        check(len(r.get_response().raw_output_contents) == 0, "raw_output_contents used")
        if answer is not None:
            check(self.out(r, "text_output") == [answer.encode()], f"{self.out(r, 'text_output')}")
        if finish is not None:
            check(self.out(r, "finish_reason") == [finish.encode()], f"{self.out(r, 'finish_reason')}")

    def c_tensor_numpy(self, model, datatype, shape, values=None):
        if datatype == "BYTES":
            data = np.array([v.encode() for v in values], dtype=object).reshape(shape)
        elif datatype == "BF16":
            import ml_dtypes

            data = np.array(values, dtype=ml_dtypes.bfloat16).reshape(shape)
        else:
            from tritonclient.utils import triton_to_np_dtype

            data = np.array(values, dtype=triton_to_np_dtype(datatype)).reshape(shape)
        i = tc.InferInput("t", list(shape), datatype)
        i.set_data_from_numpy(data)
        r = self.client().infer(model, [i], client_timeout=20)
        back = r.as_numpy("t")
        check(back is not None and list(back.shape) == list(shape), f"shape {None if back is None else back.shape}")
        check(np.array_equal(back, data), f"{back} is not {data}")
        check(r.get_output("t").datatype == datatype, "datatype")
        check(len(r.get_response().raw_output_contents) == 1, "raw request must get a raw answer")

    def c_stream_text(self, model, texts, chunks, stream=True, final_flag=False):
        got = queue.Queue()
        c = self.client()
        c.start_stream(lambda result, error: got.put((result, error)))
        try:
            for n, text in enumerate(texts):
                c.async_stream_infer(
                    model,
                    [self.text_input(text), self.streaming(stream)],
                    request_id=f"r{n}",
                    enable_empty_final_response=final_flag,
                )
            for n, want in enumerate(chunks):
                for text, finish in want:
                    result, error = got.get(timeout=20)
                    check(error is None, f"error {error}")
                    check(result.get_response().id == f"r{n}", f"id {result.get_response().id}")
                    have = (self.out(result, "text_output"), self.out(result, "finish_reason"))
                    check(have == ([text.encode()], [finish.encode()]), f"{have} expected {(text, finish)}")
            time.sleep(0.3)
            check(got.empty(), "more responses than expected")
        finally:
            c.stop_stream()

    def c_stream_error(self, model, text, says, then, ends=False, code=None, stream=True):
        """One bad request; afterwards the stream works on (or is over)."""
        got = queue.Queue()
        c = self.client()
        c.start_stream(lambda result, error: got.put((result, error)))
        try:
            c.async_stream_infer(model, [self.text_input(text), self.streaming(stream)], request_id="bad")
            result, error = got.get(timeout=20)
            check(error is not None, "no error")
            check(says in (error.message() or ""), f"message {error.message()!r} lacks {says!r}")
            if ends:
                check((error.status() or "").endswith(code), f"status {error.status()}")
                return
            check(error.status() is None, f"stream was ended with {error.status()}")
            c.async_stream_infer(then, [self.text_input("go"), self.streaming(True)], request_id="good")
            result, error = got.get(timeout=20)
            check(error is None and self.out(result, "text_output") == [b"go"], f"{error}")
        finally:
            c.stop_stream()

    def c_half_open(self, first, second):
        """Answers come while the client's side of the stream is still open."""
        feed = queue.Queue()
        call = self.stub.ModelStreamInfer(iter(feed.get, None), timeout=30)
        for n, (kind, arg) in enumerate((first, second)):
            if kind == "llm":
                feed.put(self.llm_request(self.names["$LLM"], arg, id=str(n)))
            else:
                feed.put(self.tensor_request(self.names["$TENSOR"], arg, id=str(n)))
            answer = next(call)
            check(answer.infer_response.id == str(n) and not answer.error_message, f"{answer}")
        feed.put(None)
        check(next(call, None) is None and call.code() == grpc.StatusCode.OK, "clean end")

    def c_serial(self, n):
        """Requests of one stream are answered one after the other."""
        reqs = [
            self.tensor_request(self.names["$TENSOR"], "slow", id="a", n=n),
            self.tensor_request(self.names["$TENSOR"], "echo", id="b"),
        ]
        ids = [r.infer_response.id for r in self.stub.ModelStreamInfer(iter(reqs), timeout=60)]
        check(ids == ["a"] * n + ["b"], f"{ids}")

    def c_concurrent(self, streams, text):
        """Separate RPCs on one connection do not wait for each other."""
        slow = self.stub.ModelStreamInfer(iter([self.slow("llm", True)]), timeout=60)
        next(slow)
        start, out = time.time(), []

        def one():
            out.append(self.stub.ModelInfer(self.llm_request(self.names["$LLM"], text), timeout=20))

        threads = [threading.Thread(target=one) for _ in range(streams)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        check(len(out) == streams and time.time() - start < 5, "blocked by another RPC")
        slow.cancel()

    def c_cancel(self, kind, stream):
        before = self.cancels(kind)
        if stream:
            call = self.stub.ModelStreamInfer(iter([self.slow(kind, True)]), timeout=60)
            next(call)
            next(call)
            call.cancel()
        else:
            call = self.stub.ModelInfer.future(self.slow(kind, False), timeout=60)
            time.sleep(0.5)
            call.cancel()
        self.wait_cancel(kind, before)

    def c_deadline(self, kind, stream, seconds):
        before, start = self.cancels(kind), time.time()
        try:
            if stream:
                for _ in self.stub.ModelStreamInfer(iter([self.slow(kind, True)]), timeout=seconds):
                    pass
            else:
                self.stub.ModelInfer(self.slow(kind, False), timeout=seconds)
            raise Failed("no deadline")
        except grpc.RpcError as e:
            # the server may win the race and say CANCELLED "Timeout expired"
            check(e.code().name in ("DEADLINE_EXCEEDED", "CANCELLED"), f"{e.code()}")
        check(time.time() - start < seconds + 2, "too late")
        self.wait_cancel(kind, before)

    def c_stop_stream(self):
        before, got = self.cancels("llm"), queue.Queue()
        c = self.client()
        c.start_stream(lambda result, error: got.put((result, error)))
        c.async_stream_infer(self.names["$LLM"], [self.text_input("!slow 200"), self.streaming(True)])
        check(got.get(timeout=20)[1] is None, "first chunk")
        c.stop_stream(cancel_requests=True)
        self.wait_cancel("llm", before)

    def c_size(self, total, code, says=None):
        """A ModelInferRequest of exactly `total` bytes."""
        r = pb.ModelInferRequest(model_name=self.names["$TENSOR"])
        r.inputs.add(name="x", datatype="BYTES", shape=[1])
        pad = total - 40
        r.raw_input_contents.append(b"")
        r.parameters["op"].string_param = "none" if code == "OK" else "echo"
        for _ in range(4):
            r.raw_input_contents[0] = struct.pack("<I", pad) + b"q" * pad
            pad += total - r.ByteSize()
        check(r.ByteSize() == total, f"could not build {total}: {r.ByteSize()}")
        try:
            self.stub.ModelInfer(r, timeout=60)
            have, details = "OK", ""
        except grpc.RpcError as e:
            have, details = e.code().name, e.details()
        if code == "OK":  # op none: the request got through and produced nothing
            check(have == "INTERNAL" and "No response received" in details, f"{have} {details!r}")
        else:
            check(have in code, f"{have} {details!r}")
            check(not says or says in details, f"{details!r}")

    def c_big_answer(self, size):
        r = self.stub.ModelInfer(self.tensor_request(self.names["$TENSOR"], "big", n=size), timeout=60)
        check(len(r.outputs[0].contents.bytes_contents[0]) == size, "size")

    def c_compression(self, algorithm):
        """Dynamo refuses compressed requests; a server that reads them is fine too."""
        text = "x" * 500
        try:
            r = self.client().infer(
                self.names["$LLM"], [self.text_input(text)], compression_algorithm=algorithm, client_timeout=20
            )
        except InferenceServerException as e:
            check((e.status() or "").endswith("UNIMPLEMENTED"), f"{e.status()} {e.message()!r}")
        else:
            check(self.out(r, "text_output") == [text.encode()], "wrong answer")

    def c_shared_memory(self, model):
        """Inputs without any data in the request must be refused, not hang."""
        i = tc.InferInput("x", [4], "INT32")
        i.set_shared_memory("region", 16)
        self.expect_error(
            lambda: self.client().infer(model, [i], client_timeout=10),
            ["CANCELLED", "INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED"],
        )
        check(self.client().is_server_live(), "server gone")

    def c_bad_protobuf(self, hex):
        call = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        try:
            call(bytes.fromhex(hex), timeout=10)
            raise Failed("accepted")
        except grpc.RpcError as e:
            check(e.code().name == "INTERNAL", f"{e.code()}")
        check(self.client().is_server_live(), "server gone")

    def c_unknown_method(self, path):
        try:
            self.channel.unary_unary(path)(b"", timeout=10)
            raise Failed("accepted")
        except grpc.RpcError as e:
            check(e.code().name == "UNIMPLEMENTED", f"{e.code()}")

    def fetch(self, path, body=None):
        req = urllib.request.Request(
            f"http://{self.metrics}{path}", data=body, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(req, timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def c_http(self, path, status, says=None, post=None):
        code, body = self.fetch(path, json.dumps(post).encode() if post is not None else None)
        check(code == status, f"HTTP {code}, expected {status}")
        for s in says or []:
            check(s in body, f"{body[:300]!r} lacks {s!r}")

    def counter(self, name, labels):
        total = 0.0
        for line in self.fetch("/metrics")[1].splitlines():
            head, _, rest = line.partition("{")
            if head == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
                total += float(rest.rsplit(" ", 1)[1])
        return total

    def c_counter(self, name, labels, do, by=1):
        before = self.counter(name, labels)
        for step in do:
            try:
                self.run({"id": "", **step})
            except Failed as e:
                raise Failed(f"inner request: {e}") from e
        end = time.time() + 5
        while time.time() < end:
            if self.counter(name, labels) - before == by:
                return
            time.sleep(0.2)
        raise Failed(f"{name}{labels} moved by {self.counter(name, labels) - before}, expected {by}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("address")
    ap.add_argument("model")
    ap.add_argument("--metrics", help="HOST:PORT of the HTTP side (--grpc-metrics-port)")
    ap.add_argument("--more", help="a file with further cases")
    ap.add_argument("--only", help="run only cases whose id contains this")
    args = ap.parse_args()
    cases = json.load(open(os.path.join(HERE, "..", "fixtures", "kserve", "probe_cases.json")))
    if args.more:
        cases += json.load(open(args.more))
    ids = [c["id"] for c in cases]
    assert len(ids) == len(set(ids)), "duplicate case id"
    probe = Probe(args.address, args.model, args.metrics)
    tally = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for case in cases:
        if args.only and args.only not in case["id"]:
            continue
        missing = [n for n in case.get("needs", []) if n not in probe.have]
        why = ""
        if missing:
            verdict, why = "SKIP", "needs " + ", ".join(missing)
        else:
            try:
                probe.run(case)
                verdict = "PASS"
            except Failed as e:
                verdict, why = "FAIL", str(e)
            except Exception as e:  # anything the client could not cope with
                verdict, why = "FAIL", f"{type(e).__name__}: {e}"
        tally[verdict] += 1
        print(f"{verdict}  {case['id']}" + (f"  -- {why[:400]}" if why else ""), flush=True)
    print("{PASS} passed, {FAIL} failed, {SKIP} skipped".format(**tally))
    return 1 if tally["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
