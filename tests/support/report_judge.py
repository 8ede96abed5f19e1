"""Whether an answer, and what the worker saw, are what a report case expects (its fields: fixtures/reports)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.report_client import Answer, Gathered
from tests.support.report_tokens import decode


class Missing:
    """The value of a path that leads nowhere."""


def at(value: Any, path: str) -> Any:
    """The member at a dotted path."""
    for key in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list):
            value = value[int(key)] if re.fullmatch(r"-?\d+", key) and -len(value) <= int(key) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(key, Missing)
        else:
            return Missing
    return value


def decoded(text: Any) -> Any:
    """The JSON in a text, Missing if there is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return Missing


def holds(value: Any, operator: str, want: Any = None) -> bool:
    """One comparison of the case language."""
    absent = value is Missing or value is None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    tests: dict[str, Callable[[], Any]] = {
        "eq": lambda: value == want,
        "ne": lambda: value != want,
        "in": lambda: value in want,
        "exists": lambda: value is not Missing,
        "absent": lambda: absent,
        "null_or_absent": lambda: absent,
        "contains": lambda: not absent and want in value,
        "not_contains": lambda: absent or want not in value,
        "json_eq": lambda: isinstance(value, str) and decoded(value) == want,
        "type": lambda: type(value).__name__ == want,
        "len": lambda: hasattr(value, "__len__") and len(value) == want,
        "gt": lambda: number and value > want,
        "ge": lambda: number and value >= want,
        "lt": lambda: number and value < want,
        "matches": lambda: isinstance(value, str) and re.search(want, value),
        "empty": lambda: value is Missing or not value,
        "keys": lambda: isinstance(value, dict) and list(value) == want,
        "json_code": lambda: value is None or (isinstance(value, str) and not value.isdigit()),
    }
    return bool(tests[operator]())


def judge(expect: dict[str, Any], answer: Answer, saw: list[Any], end: Any) -> list[str]:
    """What is not as expected. `saw` are the requests of the worker, `end` the record of the last one's end."""
    wrong = [*_answer(expect, answer), *_text(expect, answer)]
    if "json" in expect:
        wrong += _members(decoded(answer.text), expect["json"], "body")
    if "status_or_json" in expect:
        statuses, members = expect["status_or_json"]
        if answer.status not in statuses and _members(decoded(answer.text), members, "body"):
            wrong.append(f"status {answer.status} and not {members}")
    if "status_or_worker" in expect:
        statuses, members = expect["status_or_worker"]
        if answer.status not in statuses and _members(saw[-1]["request"] if saw else {}, members, "worker"):
            wrong.append(f"status {answer.status} and the worker did not see {members}")
    if "stream" in expect:
        wrong += _stream(expect["stream"], Gathered(answer.text))
    if "worker" in expect:
        wrong += _worker(expect["worker"], answer, saw, end)
    return wrong


def _members(value: Any, members: Iterable[list[Any]], what: str) -> list[str]:
    found = ((path, at(value, path) if path else value, rest) for path, *rest in members)
    return [f"{what} {path} is {got!r:.160}, want {rest}" for path, got, rest in found if not holds(got, *rest)]


def _answer(expect: dict[str, Any], answer: Answer) -> list[str]:
    wrong = []
    if answer.error is not None and not expect.get("any_end"):
        wrong.append(answer.error)
    statuses = expect.get("status", answer.status)
    if answer.status not in (statuses if isinstance(statuses, list) else [statuses]):
        wrong.append(f"status {answer.status}, want {statuses}: {answer.text[:200]}")
    if answer.total_secs > expect.get("max_total_s", answer.total_secs):
        wrong.append(f"took {answer.total_secs:.1f} s")
    if not answer.first_secs <= expect.get("max_first_s", answer.first_secs):
        wrong.append(f"first byte after {answer.first_secs:.2f} s")
    for text, secs in expect.get("seen_within", []):
        place = answer.text.encode().find(text.encode())
        seen = next((when for when, size in answer.marks if 0 <= place and place + len(text) <= size), None)
        if seen is None or seen > secs:
            wrong.append(f"{text!r} seen after {seen} s, want {secs}")
    for name, operator, *want in expect.get("headers", []):
        if not holds(answer.headers.get(name, Missing), operator, *want):
            wrong.append(f"header {name} is {answer.headers.get(name)!r}, want {operator} {want}")
    return wrong


def _text(expect: dict[str, Any], answer: Answer) -> list[str]:
    wrong = [f"lacks {text!r}" for text in expect.get("must_contain", []) if text not in answer.text]
    wrong += [f"no match for {text!r}" for text in expect.get("must_match", []) if not re.search(text, answer.text)]
    wrong += [f"contains {text!r}" for text in expect.get("must_not_contain", []) if text in answer.text]
    return wrong + [f"matches {text!r}" for text in expect.get("must_not_match", []) if re.search(text, answer.text)]


def _stream(expect: dict[str, Any], got: Gathered) -> list[str]:
    index = expect.get("choice", 0)
    content = got.content.get(index, "")
    last = got.usage[-1] if got.usage else (None, {})
    measured = {
        "content": content,
        "content_strip": content.strip(),
        "reasoning": got.reasoning.get(index, ""),
        "finish": got.finish.get(index),
        "finish_choices": {str(number): reasons[-1] for number, reasons in got.finish.items()},
        "calls": got.calls,
        "done": got.done == 1 and not got.after_done,
        "usage_chunks": len(got.usage),
        "usage_last_empty_choices": last[0] == 0,
        "one_id": len(got.ids) == 1,
        "role_once": len(got.roles.get(index, [])) == 1,
        "no_after_finish": not got.after_finish,
        "error": bool(got.errors),
        "logprob_tokens": got.logprob_tokens,
    }
    wrong = [
        f"{name} is {measured[name]!r}, want {want!r}"
        for name, want in expect.items()
        if name in measured and measured[name] != want
    ]
    if not content.endswith(expect.get("content_ends", "")):
        wrong.append(f"content {content!r} does not end in {expect['content_ends']!r}")
    if got.chunks < expect.get("min_chunks", 0):
        wrong.append(f"{got.chunks} chunks")
    wrong += _members(last[1], expect.get("usage", []), "usage")
    return wrong + _members(got.usage[0][1] if got.usage else {}, expect.get("first_usage", []), "first usage")


def _worker(expect: dict[str, Any], answer: Answer, saw: list[Any], end: Any) -> list[str]:
    wrong = []
    request = saw[-1]["request"] if saw else {}
    prompt = decode(request.get("token_ids") or [])
    if expect.get("calls") not in (None, len(saw)):
        wrong.append(f"worker called {len(saw)} times, want {expect['calls']}")
    if expect.get("id_in_body") and not (saw and saw[-1]["id"] in answer.text):
        wrong.append("the id that the worker saw is not in the body")
    wrong += [f"prompt {prompt!r} lacks {text!r}" for text in expect.get("prompt_contains", []) if text not in prompt]
    wrong += [f"prompt has {text!r}" for text in expect.get("prompt_not_contains", []) if text in prompt]
    wrong += [f"prompt is no {text!r}" for text in expect.get("prompt_match", []) if not re.search(text, prompt)]
    if expect.get("prompt_is", prompt) != prompt:
        wrong.append(f"prompt {prompt!r}, want {expect['prompt_is']!r}")
    if expect.get("prompt_ids", request.get("token_ids")) != request.get("token_ids"):
        wrong.append(f"prompt ids {request.get('token_ids')}, want {expect['prompt_ids']}")
    wrong += _members(request, expect.get("json", []), "worker")
    if "cancelled_within_s" in expect and not (end and (end["stopped"] or end["killed"])):
        wrong.append(f"worker was not told of the cancellation: {end}")
    if "sent_below" in expect and not (end and end["sent"] < expect["sent_below"]):
        wrong.append(f"worker sent {end}")
    return wrong
