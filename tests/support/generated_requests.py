"""Requests for the differential test, each with what the worker is to say: fields with each value of
`tests/fixtures/requests`, combinations, headers, worker errors, answers by shape, and random ones from a fixed seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VALUES = Path(__file__).parent.parent / "fixtures" / "requests"
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
# ids of the tiny model's tokens; those of single bytes begin at BYTE
HELLO, WORLD, STOP, END, EOS, THINK = 275, 280, 283, 285, 1, 6
BYTE = 16
EXTRA_FIELDS = ("completion_token_ids", "stop_reason", "engine_data", "worker_id", "prompt_token_ids")


@dataclass(frozen=True)
class Case:
    """`body` is JSON unless it is bytes already; `script` is what the worker says (see scripted_worker.py)."""

    name: str
    path: str
    body: Any
    script: Any
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def cases(seed: int, drawn: int) -> list[Case]:
    """Every listed case, and `drawn` random ones."""
    kinds = (_fields, _nvext_fields, _messages_and_tools, _listed, _headers, _worker_errors, _shapes)
    listed = [case for kind in kinds for case in kind()]
    return listed + [_drawn(random.Random(seed * 100_003 + number), number) for number in range(drawn)]


def item(*token_ids: int, **fields: Any) -> dict[str, Any]:
    return {"token_ids": list(token_ids)} | fields


FINISH = item(finish_reason="stop")
SAY_TWO = [item(HELLO), item(WORLD), FINISH]


def _values(name: str) -> Any:
    return json.loads((VALUES / f"{name}.json").read_text())


def _request(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {"model": "tiny"}
    plain |= {"messages": [{"role": "user", "content": "hello"}]} if kind == "chat" else {"prompt": "hello"}
    return plain | fields


def _case(name: str, kind: str, fields: dict[str, Any], script: Any = None, headers: Any = None) -> Case:
    return Case(f"{name} {kind}", PATHS[kind], _request(kind, fields), script or SAY_TWO, headers or {})


def _fields() -> Iterator[Case]:
    """Each field with each value and each wrong type, on both endpoints."""
    wrong, common = _values("wrong"), _values("common_fields")
    own = {kind: _values(f"{kind}_fields") for kind in PATHS}
    for kind in PATHS:
        for name in dict.fromkeys([*common, *own["chat"], *own["completion"]]):
            known = (common | own[kind]).get(name, [])
            for number, value in enumerate([*wrong, *known]):
                stream = {"stream": True} if name == "stream_options" and number % 2 else {}
                yield _case(f"{name}={str(value)[:60]}", kind, {name: value} | stream)


def _nvext_fields() -> Iterator[Case]:
    script = [item(HELLO), item(WORLD, engine_data={"a": 1}), item(finish_reason="stop", stop_reason="zz")]
    for kind in PATHS:
        for name, known in _values("nvext_fields").items():
            for number, value in enumerate([*_values("wrong"), *known]):
                stream = {"stream": True} if number % 2 else {}
                yield _case(f"nvext.{name}={str(value)[:60]}", kind, {"nvext": {name: value}} | stream, script)


def _messages_and_tools() -> Iterator[Case]:
    for number, messages in enumerate(_values("messages")):
        yield _case(f"messages {number}", "chat", {"messages": messages})
        if number % 4 == 0:
            yield _case(f"messages {number} in a session", "chat", {"messages": messages}, None, {"x-session-id": "s"})
    for number, tools in enumerate(_values("tools")):
        yield _case(f"tools {number}", "chat", {"tools": tools})


def _listed() -> Iterator[Case]:
    """Combinations that have rules of their own, bodies that are no JSON object, and prompts beyond the context."""
    for number, (kind, how, body) in enumerate(_values("listed")):
        if how == "raw":
            yield Case(f"listed {number} {body[:60]}", PATHS[kind], body.encode("latin-1"), SAY_TWO)
        else:
            whole = body if how == "body" else _request(kind, body)
            yield Case(f"listed {number} {json.dumps(body)[:60]}", PATHS[kind], whole, SAY_TWO)
    for count in (4096, 4097):
        yield _case(f"a prompt of {count} tokens", "completion", {"prompt": [HELLO] * count})


def _headers() -> Iterator[Case]:
    many = [{f"x-dynamo-meta-{number}": "v" for number in range(count)} for count in (64, 65)]
    for headers in [*_values("headers"), *many]:
        yield _case(f"headers {str(headers)[:80]}", "chat", {}, None, headers)
        if any("session" in name or "thread" in name for name in headers):
            yield _case(f"headers {str(headers)[:80]}", "completion", {}, None, headers)
    mixed = {"x-dynamo-request-priority": "5", "x-tenant-id": "t", "x-dynamo-prefill-instance-id": "7"}
    nvext = {"agent_hints": {"priority": 9, "strict_priority": 8}, "cache_salt": "body", "prefill_worker_id": 1}
    yield _case("headers beat the body", "chat", {"nvext": nvext}, None, mixed)


def _worker_errors() -> Iterator[Case]:
    """Each error of a worker: first, behind an item, behind the end of the answer."""
    for number, error in enumerate(_values("worker_errors")):
        for stream in (False, True):
            for before in ([], [item(HELLO)], [item(HELLO, finish_reason="stop")]):
                kind = "chat" if number % 3 else "completion"
                name = f"{json.dumps(error)[:80]} stream={stream} after {str(before)[:60]}"
                yield _case(name, kind, {"stream": stream}, [*before, error])


def _shapes() -> Iterator[Case]:
    """Answers whose shape has rules of its own, under options that change it."""
    for name, script in _values("scripts").items():
        for kind, fields in _values("shape_options"):
            yield Case(f"{name} {kind} {json.dumps(fields)}", PATHS[kind], _request(kind, fields), script)


def _drawn(draw: random.Random, number: int) -> Case:
    """Random fields in range over a random script."""
    kind = draw.choice(("chat", "completion"))
    stops = [draw.choice(("STOP", "lo w", "XY", "end", "é", "aa", "a")) for _ in range(draw.randint(1, 3))]
    possible: dict[str, Callable[[], Any]] = {
        "stream": lambda: True,
        "stop": lambda: stops,
        "min_tokens": lambda: draw.randint(0, 6),
        "max_tokens": lambda: draw.randint(1, 9),
        "temperature": lambda: draw.uniform(0.1, 2),
        "top_p": lambda: draw.uniform(0.1, 1),
        "top_k": lambda: draw.randint(-1, 50),
        "seed": lambda: draw.getrandbits(62),
        "ignore_eos": lambda: draw.random() < 0.5,
        "stop_token_ids": lambda: [draw.randrange(287)],
        "include_stop_str_in_output": lambda: draw.random() < 0.5,
        "skip_special_tokens": lambda: draw.random() < 0.5,
        "presence_penalty": lambda: draw.uniform(-2, 2),
        "cache_salt": lambda: "s",
        "return_tokens_as_token_ids": lambda: True,
        "nvext": lambda: {"extra_fields": draw.sample(EXTRA_FIELDS, 2)},
    }
    body = {name: make() for name, make in possible.items() if draw.random() < 0.3}
    choices = 1
    if draw.random() < 0.2:
        choices = body["n"] = 2
        body.pop("nvext", None)
    if body.get("stream") and draw.random() < 0.5:
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": draw.random() < 0.5}
    logprobs = draw.random() < 0.4
    if logprobs:
        wanted = draw.randint(0, 3)
        body |= {"logprobs": True, "top_logprobs": wanted} if kind == "chat" else {"logprobs": wanted}
    if kind == "completion" and draw.random() < 0.3:
        body["no_stop_trim"] = draw.random() < 0.7
    return _case(f"drawn {number}", kind, body, _random_script(draw, choices, logprobs))


def _random_script(draw: random.Random, choices: int, logprobs: bool) -> list[Any]:
    """Random bytes and texts around stop strings, cut into items at random places."""
    texts = ("hello world STOP end", "aaXYaXYZb", "é中\U0001f600x", "lo wlo world", "ab\u00ff", "")
    ids = [BYTE + value for _ in range(3) for value in draw.choice(texts).encode()]
    words = (HELLO, WORLD, STOP, END, THINK, 274, 276, draw.randrange(300))
    ids += [draw.choice(words) for _ in range(draw.randint(0, 8))]
    if draw.random() < 0.3:
        draw.shuffle(ids)
    if draw.random() < 0.2:
        ids.insert(draw.randint(0, len(ids)), EOS)
    script: list[Any] = []
    while ids:
        cut = draw.choice((1, 1, 2, 3, 7))
        now, ids = ids[:cut], ids[cut:]
        entry = item(*now)
        if choices > 1:
            entry["index"] = draw.randrange(choices)
        if logprobs and draw.random() < 0.9:
            entry["log_probs"] = known = [-draw.random() * 5 for _ in now]
            if draw.random() < 0.6:
                entry["top_logprobs"] = [_tops(draw, *pair) for pair in zip(now, known, strict=True)]
        script.append(entry)
    if draw.random() < 0.9:
        if draw.random() < 0.3 and choices == 1 and script:
            script[-1]["finish_reason"] = "stop"
        else:
            reasons = ("stop", "length", "eos")
            script += [item(finish_reason=draw.choice(reasons), index=index) for index in range(choices)]
    return script


def _tops(draw: random.Random, token: int, logprob: float) -> list[dict[str, Any]]:
    sampled = {"rank": 1, "token_id": token, "token": None, "logprob": logprob}
    other = {"rank": 2, "token_id": draw.randrange(16, 140), "logprob": -6.5}
    return [sampled, other] if draw.random() < 0.7 else [other]
