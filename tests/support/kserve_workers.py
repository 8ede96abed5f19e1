#!/usr/bin/env python3
"""Workers with known behaviour for kserve_probe.py.

Registers four models in one process, through the public `dynamo.llm` /
`dynamo.runtime` Python API only:

  kp-llm       Completions, text in / text out (OpenAI completions objects)
  kp-chat      Chat only (must stay invisible to metadata and inference)
  kp-tensor    tensor model with a plain tensor_model_config
  kp-triton    tensor model with a serialized Triton ModelConfig
  kp-noconfig  tensor model registered without any config

kp-llm, by prompt:
  !slow N       N chunks "t0 ", "t1 ", ... 50 ms apart; stops when cancelled
  !cancels      one chunk: how many "!slow" runs were cancelled so far
  !ctx          one chunk: JSON {"id","metadata","request"} of this request
  !two          two choices, second one listed first
  !empty        no chunks at all
  !finish X     one chunk "x" with finish_reason X
  !nofinish     one chunk "x" without finish_reason
  !usage        one chunk "x", then a chunk without choices
  !raise T M    raise exception T with message M ("HttpError:503" sets a code)
  !late T M     one chunk "x", then raise
  !name N       one chunk "x" whose model field is N
  anything else the prompt's words, one chunk each, finish_reason stop

kp-tensor / kp-triton / kp-noconfig, by request parameter "op" (string):
  echo (default)  the input tensors and request parameters back
  repeat          "n" echoes, each with parameter i = 0..n-1
  saw             one Bytes tensor "saw": JSON {"id","metadata","request"}
  the others (slow, hang, cancels, raise, late, none, count, dtype, negative,
  half, extra, foreign, bytes, big, final): see the code below

usage: kserve_workers.py [--namespace NS] [--model-path DIR]
"""

import argparse
import asyncio
import builtins
import json
import os
import signal

from dynamo.llm import ModelInput, ModelType, WorkerType, register_model
from dynamo.runtime import DistributedRuntime

CANCELS = {"llm": 0, "tensor": 0}


def make_exc(kind, message):
    if kind.startswith("HttpError"):
        from dynamo.llm import HttpError

        return HttpError(int(kind.split(":")[1]), message)
    return getattr(builtins, kind)(message)


def ctx_json(request, context):
    return json.dumps(
        {
            "id": context.id(),
            "metadata": dict(context.metadata.items()),
            "request": request,
        },
        sort_keys=True,
        default=list,
    )


async def llm(request, context):
    prompt = request.get("prompt") or ""

    def chunk(*choices, model=None, **extra):
        return {
            "id": "cmpl-probe",
            "object": "text_completion",
            "created": 1700000000,
            "model": model or request["model"],
            "choices": [{"index": i, "text": t, "finish_reason": f, "logprobs": None} for i, t, f in choices],
            **extra,
        }

    if not prompt.startswith("!"):
        words = prompt.split(" ") if prompt else [""]
        for n, word in enumerate(words):
            text = word if n == 0 else " " + word
            yield chunk((0, text, "stop" if n == len(words) - 1 else None))
        return
    cmd, _, rest = prompt[1:].partition(" ")
    if cmd == "slow":
        for n in range(int(rest)):
            if context.is_stopped():
                CANCELS["llm"] += 1
                return
            yield chunk((0, f"t{n} ", None))
            await asyncio.sleep(0.05)
        yield chunk((0, "end", "stop"))
    elif cmd == "cancels":
        yield chunk((0, str(CANCELS["llm"]), "stop"))
    elif cmd == "ctx":
        yield chunk((0, ctx_json(request, context), "stop"))
    elif cmd == "two":
        yield chunk((1, "B", None), (0, "A", None))
        yield chunk((0, "a", "length"))
        yield chunk((1, "b", "stop"))
    elif cmd == "empty":
        return
    elif cmd == "finish":
        yield chunk((0, "x", rest))
    elif cmd == "nofinish":
        yield chunk((0, "x", None))
    elif cmd == "usage":
        yield chunk((0, "x", "stop"))
        yield chunk(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    elif cmd in ("raise", "late"):
        if cmd == "late":
            yield chunk((0, "x", None))
        kind, _, message = rest.partition(" ")
        raise make_exc(kind, message)
    elif cmd == "name":
        yield chunk((0, "x", "stop"), model=rest)
    else:
        raise ValueError(f"unknown command {cmd}")


async def tensor(request, context):
    params = dict(request.get("parameters") or {})
    def get(k, d=None):
        return next(iter(params.get(k, {"": d}).values()))
    op, model, tensors = get("op", "echo"), request["model"], request["tensors"]

    def one(kind, shape, values, meta_kind=None):
        return {
            "metadata": {"name": "y", "data_type": meta_kind or kind, "shape": shape},
            "data": {"data_type": kind, "values": values},
        }

    def answer(*ts, **extra):
        return {"model": model, "tensors": list(ts), **extra}

    if op == "echo":
        yield {"model": model, "tensors": tensors, "parameters": params}
    elif op == "repeat":
        for i in range(int(get("n"))):
            yield {"model": model, "tensors": tensors, "parameters": {"i": {"int64": i}}}
    elif op == "saw":
        body = ctx_json(request, context).encode()
        t = one("Bytes", [1], [list(body)])
        t["metadata"]["name"] = "saw"
        yield answer(t)
    elif op == "slow":
        for i in range(int(get("n"))):
            if context.is_stopped():
                CANCELS["tensor"] += 1
                return
            yield answer(parameters={"i": {"int64": i}})
            await asyncio.sleep(0.05)
    elif op == "hang":
        for _ in range(int(get("n")) * 20):
            if context.is_stopped():
                CANCELS["tensor"] += 1
                return
            await asyncio.sleep(0.05)
        yield answer()
    elif op == "cancels":
        yield answer(parameters={"cancels": {"int64": CANCELS["tensor"]}})
    elif op == "none":
        return
    elif op == "raise":
        raise make_exc(get("type", "ValueError"), get("message", "boom"))
    elif op == "late":
        yield answer(one("Int32", [1], [1]))
        raise make_exc(get("type", "ValueError"), get("message", "boom"))
    elif op == "count":
        yield answer(one("Int32", [2], [1]))
        if get("more"):
            yield answer(one("Int32", [1], [5]))
    elif op == "dtype":
        yield answer(one("Int32", [1], [1], meta_kind="Int64"))
    elif op == "negative":
        yield answer(one("Int32", [-1], [1]))
    elif op == "half":
        yield answer(one(get("kind", "Float16"), [2], [0x3E00, 0xC080]))
    elif op == "extra":
        yield answer(surprise=1)
    elif op == "foreign":
        yield {"id": "theirs", "model": "renamed", "tensors": []}
    elif op == "bytes":
        yield answer(one("Bytes", [2], [b"ab", b""]))
    elif op == "big":
        yield answer(one("Bytes", [1], [b"z" * int(get("n"))]))
    elif op == "final":
        yield answer(one("Int32", [1], [1]))
        yield answer(parameters={"triton_final_response": {"bool": True}})
    else:
        raise ValueError(f"unknown op {op}")


# inference.ModelConfig: name kp-inner, platform onnxruntime_onnx, max_batch_size 8,
# input image FP32 [3,-1], optional input tag STRING [1], output logits FP16 [10]
# with a label file, one CPU instance group of 2, dynamic batching [4],
# parameter mode=fast, decoupled transaction policy
TRITON_MODEL_CONFIG = bytes.fromhex(
    "0a086b702d696e6e657212106f6e6e7872756e74696d655f6f6e6e7820082a16"
    "0a05696d616765100b220b03ffffffffffffffffff012a0c0a03746167100d22"
    "0101400132140a066c6f67697473100a1a010a22056c2e7478743a0410022002"
    "5a030a0104720e0a046d6f646512060a04666173749a01020801"
)
TRITON_CONFIG = {
    "name": "",
    "inputs": [],
    "outputs": [],
    "triton_model_config": TRITON_MODEL_CONFIG,
}

TENSOR_CONFIG = {
    "name": "kp-tensor",
    "inputs": [
        {"name": "ids", "data_type": "Int64", "shape": [-1]},
        {"name": "text", "data_type": "Bytes", "shape": [1, 2]},
    ],
    "outputs": [
        {"name": "score", "data_type": "Float32", "shape": [-1, 2]},
        {"name": "half", "data_type": "BFloat16", "shape": []},
    ],
}


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--namespace", default=os.environ.get("DYN_NAMESPACE", "dynamo"))
    ap.add_argument("--model-path", help="model directory; without it no assets are used")
    args = ap.parse_args()
    runtime = DistributedRuntime(
        asyncio.get_running_loop(),
        os.environ.get("DYN_DISCOVERY_BACKEND", "etcd"),
        os.environ.get("DYN_REQUEST_PLANE", "tcp"),
    )
    for sig in (signal.SIGTERM, signal.SIGINT):  # leave discovery at once when stopped
        asyncio.get_running_loop().add_signal_handler(sig, runtime.shutdown)
    serving = []

    async def serve(component, name, model_input, model_type, handler, **kw):
        endpoint = runtime.endpoint(f"{args.namespace}.{component}.generate")
        if model_input is not ModelInput.Tensor and not args.model_path:
            kw["skip_model_assets"] = True
        path = name if model_input is ModelInput.Tensor else (args.model_path or name)
        await register_model(
            model_input,
            model_type,
            endpoint,
            path,
            name,
            worker_type=WorkerType.Aggregated,
            **kw,
        )
        serving.append(asyncio.ensure_future(endpoint.serve_endpoint(handler)))

    text, ten = ModelInput.Text, ModelInput.Tensor
    await serve("kpllm", "kp-llm", text, ModelType.Completions, llm)
    await serve("kpchat", "kp-chat", text, ModelType.Chat, llm)
    await serve("kptensor", "kp-tensor", ten, ModelType.TensorBased, tensor, tensor_model_config=TENSOR_CONFIG)
    await serve("kpnoconfig", "kp-noconfig", ten, ModelType.TensorBased, tensor)
    await serve("kptriton", "kp-triton", ten, ModelType.TensorBased, tensor, tensor_model_config=TRITON_CONFIG)
    print("kserve workers ready", flush=True)
    await asyncio.gather(*serving)


if __name__ == "__main__":
    asyncio.run(main())
