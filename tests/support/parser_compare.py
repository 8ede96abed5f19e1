"""What it means for a result to match a record of the parser corpus (`tests/fixtures/parsers`).

A result is a dict like a chat completion's message: content (str or None), reasoning (str or None), tool_calls (list of
{"id", "name", "arguments"}, arguments a JSON text) and finish_reason. `aggregate` builds one from a stream's deltas and
reports breaches of the delta rules; `check` compares a result with a record.
"""

from __future__ import annotations

import json
import re
from typing import Any

Result = dict[str, Any]


def _loose(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()


def equal(a: Any, b: Any) -> bool:
    """JSON equality: 1 equals 1.0, but true does not equal 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b or (isinstance(a, (int, float)) and isinstance(b, (int, float)) and a == b)


def _open(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except ValueError:
        return True
    return False


def _differences(want: Result, got: Result, text: Any, ids: bool) -> list[str]:
    out = []
    for field in ("content", "reasoning"):
        w, g = want[field] or "", got.get(field) or ""
        if text(w) != text(g):
            out.append(f"{field}: want {w!r}, got {g!r}")
    calls = got.get("tool_calls") or []
    if [c["name"] for c in want["tool_calls"]] != [c["name"] for c in calls]:
        out.append(f"calls: want {[c['name'] for c in want['tool_calls']]}, got {[c['name'] for c in calls]}")
    else:
        for w, g in zip(want["tool_calls"], calls, strict=True):
            if "arguments_text" in w:
                if g["arguments"] != w["arguments_text"]:
                    out.append(f"{w['name']}: want the text {w['arguments_text']!r}, got {g['arguments']!r}")
                continue
            try:
                value = json.loads(g["arguments"])
            except ValueError:
                out.append(f"{w['name']}: arguments are not JSON: {g['arguments']!r}")
                continue
            if not equal(w["arguments"], value):
                out.append(f"{w['name']}: want {w['arguments']!r}, got {value!r}")
            if ids and w.get("id") and g.get("id") != w["id"]:
                out.append(f"{w['name']}: want id {w['id']!r}, got {g.get('id')!r}")
    if want["finish_reason"] != got.get("finish_reason"):
        out.append(f"finish_reason: want {want['finish_reason']!r}, got {got.get('finish_reason')!r}")
    return out


def check(record: dict[str, Any], got: Result) -> list[str]:
    """The differences from the expected outcome, empty when it or an accepted alternative is met."""
    text = _loose if record.get("text_match") == "loose" else (lambda s: s or "")
    ids = record.get("check_ids", False)
    found: list[str] | None = None
    for want in [record["expected"], *record.get("also_accept", [])]:
        diff = _differences(want, got, text, ids)
        calls = got.get("tool_calls") or []
        if diff and record.get("allow_partial_last_call") and len(calls) == len(want["tool_calls"]) + 1:
            last = calls[-1]["arguments"]
            diff = [] if _open(last) else [f"a cut-off call was completed: {last!r}"]
            diff += _differences(want, dict(got, tool_calls=calls[:-1]), text, ids)
        if not diff:
            return []
        found = found or diff
    return found or []


def aggregate(events: list[Any]) -> tuple[Result, list[str]]:
    """Fold the deltas of one choice; returns (result, breaches of the delta rules).

    Each event is {"role"?, "content"?, "reasoning_content"?, "tool_calls"?, "finish_reason"?}.
    """
    content, reasoning, calls, finish, bad = [], [], [], None, []
    for n, e in enumerate(x for x in events if x != "[DONE]"):
        if finish is not None and any(
            e.get(k) for k in ("content", "reasoning_content", "tool_calls", "finish_reason")
        ):
            bad.append(f"event {n} comes after the finish reason")
        if n and e.get("role"):
            bad.append(f"event {n} repeats the role")
        if e.get("content"):
            content.append(e["content"])
        if e.get("reasoning_content"):
            reasoning.append(e["reasoning_content"])
        for t in e.get("tool_calls") or []:
            f = t.get("function") or {}
            i = t.get("index")
            if i == len(calls):
                if not (t.get("id") and f.get("name") and t.get("type") == "function"):
                    bad.append(f"event {n} opens call {i} without id, type and name")
                calls.append({"id": t.get("id"), "name": f.get("name"), "arguments": f.get("arguments") or ""})
            elif i == len(calls) - 1:
                if f.get("name") or (t.get("id") and t["id"] != calls[i]["id"]):
                    bad.append(f"event {n} names call {i} again")
                calls[i]["arguments"] += f.get("arguments") or ""
            else:
                bad.append(f"event {n} has index {i} while call {len(calls) - 1} is open")
        finish = e.get("finish_reason") or finish
    ids = [c["id"] for c in calls]
    if len(set(ids)) != len(ids):
        bad.append("two calls share an id")
    return {
        "content": "".join(content) or None,
        "reasoning": "".join(reasoning) or None,
        "tool_calls": calls,
        "finish_reason": finish,
    }, bad
