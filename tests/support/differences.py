"""What may differ between the real frontend and ours: each by the row of README's "Differences from Dynamo"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.generated_requests import Case

PARSER_WORDS = "Failed to deserialize the JSON body into the target type: "
WORKER_IDS = ("prefill_worker_id", "decode_worker_id")


@dataclass(frozen=True)
class Exchange:
    """An answer and what the worker saw, normalised; `content` is the body as values."""

    status: int
    content_type: str | None
    content: Any
    saw: list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """`excuses` tells whether the whole answer may be another one, `levels` makes what may differ equal in both."""

    name: str
    excuses: Callable[[Case, Exchange, Exchange], bool] = lambda case, theirs, ours: False
    levels: Callable[[Exchange], Exchange] = lambda exchange: exchange


def _first_error(case: Case, theirs: Exchange, ours: Exchange) -> bool:
    """The stream held nothing but the error."""
    if theirs.content_type != "text/event-stream" or ours.status < 400:
        return False
    first = theirs.content[0][0]
    return len(theirs.content) == 2 and first[0] == "data" and "error" in first[1]


def _context(case: Case, theirs: Exchange, ours: Exchange) -> bool:
    return theirs.status == 200 and ours.status == 400 and "maximum context length" in ours.content["message"]


def _vocabulary(case: Case, theirs: Exchange, ours: Exchange) -> bool:
    return theirs.status == 200 and ours.status == 400 and "outside the model's vocabulary" in ours.content["message"]


def _echo(case: Case, theirs: Exchange, ours: Exchange) -> bool:
    if not isinstance(case.body, dict) or case.body.get("echo") is not True or theirs.status != ours.status:
        return False
    if theirs.status != 200:
        return False
    [own], [other] = ours.content["choices"], theirs.content["choices"]
    return bool(own["text"] == case.body["prompt"] + other["text"])


def _wording(exchange: Exchange) -> Exchange:
    content = exchange.content
    if exchange.status == 400 and isinstance(content, dict) and content["message"].startswith(PARSER_WORDS):
        content = content | {"message": PARSER_WORDS}
    return Exchange(exchange.status, exchange.content_type, content, exchange.saw)


def _bias(exchange: Exchange) -> Exchange:
    saw = []
    for entry in exchange.saw:
        extra = entry["request"].get("extra_args") or {}
        options = {key: value for key, value in extra.get("sampling_options", {}).items() if key != "logit_bias"}
        extra = {key: value for key, value in extra.items() if key != "sampling_options"}
        extra |= {"sampling_options": options} if options else {}
        request = {key: value for key, value in entry["request"].items() if key != "extra_args"}
        saw.append(entry | {"request": request | ({"extra_args": extra} if extra else {})})
    return Exchange(exchange.status, exchange.content_type, exchange.content, saw)


def _bytes(exchange: Exchange) -> Exchange:
    return Exchange(exchange.status, exchange.content_type, _without_bytes(exchange.content), exchange.saw)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_bytes(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {key: _without_bytes(inner) for key, inner in value.items()}
    if "\ufffd" in str(found.get("token", "")):
        found.pop("bytes", None)
    return found


def _run_to_run(exchange: Exchange) -> Exchange:
    """Which worker, how long it took, the order of annotations and of what the prompts of a batch say."""
    content = _varying(exchange.content)
    if exchange.content_type == "text/event-stream":
        notes = [frame for frame in content if str(frame[0]).startswith("event: ")]
        rest = [frame for frame in content if frame not in notes]
        content = sorted(notes, key=str) + sorted(rest, key=_part)
    elif isinstance(content, dict) and "Unsupported parameter" in str(content.get("message")):
        content = content | {"message": sorted(re.findall(r"`\w+`", content["message"]))}
    return Exchange(exchange.status, exchange.content_type, content, exchange.saw)


def _part(frame: list[Any]) -> str:
    told = frame[0][1] if frame[0][0] == "data" else {}
    part = re.search(r">-(\d+)$", str(told.get("id"))) if isinstance(told, dict) else None
    return part[1] if part else "~"


def _varying(value: Any) -> Any:
    if isinstance(value, list):
        return [_varying(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        if key == "timing":
            found[key] = sorted(inner)
        elif key in WORKER_IDS and inner > 1 << 32:
            found[key] = "<worker>"
        else:
            found[key] = _varying(inner)
    return found


ROWS = (
    Row("failure before the first token of a stream", excuses=_first_error),
    Row("prompt longer than the context", excuses=_context),
    Row("token ids outside the vocabulary", excuses=_vocabulary),
    Row("echo", excuses=_echo),
    Row("the parser's own wording; wrong type", levels=_wording),
    Row("logit_bias", levels=_bias),
    Row("logprobs of a token that is part of a character", levels=_bytes),
    Row("differs from run to run in the original", levels=_run_to_run),
)

# Not equal, and no row of the list: by name of the case, with the reason.
DEPARTS = {
    r"^wrong usage .*\"stream\": true": "a usage that is none ends a stream behind its text, not in front of it",
    r"^only finish .*no_stop_trim": "the original answers 502 to an empty answer under no_stop_trim",
}


def departs(case: Case) -> bool:
    return any(re.search(pattern, case.name) for pattern in DEPARTS)


def equal(case: Case, theirs: Exchange, ours: Exchange) -> bool:
    """Whether the two are the same but for what the rows allow."""
    if any(row.excuses(case, theirs, ours) for row in ROWS):
        return True
    for row in ROWS:
        theirs, ours = row.levels(theirs), row.levels(ours)
    return theirs == ours
