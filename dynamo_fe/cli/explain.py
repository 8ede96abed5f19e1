"""`dynamo-fe explain`: asks a running frontend where it would send a request, and why."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from dynamo_fe.cli.frontend_url import frontend_url
from dynamo_fe.config.errors import FAILED, USAGE_ERROR

_SECS: Final = 30.0
_STANDARD_INPUT: Final = Path("-")
# what no other frontend says on /ready
_READINESS: Final = {"status", "models", "reasons"}
_COLUMNS: Final[tuple[tuple[str, int, Callable[[dict[str, Any]], str]], ...]] = (
    ("worker", 20, lambda each: f"{each['worker_id']}"),
    ("rank", 4, lambda each: f"{each['dp_rank']}"),
    ("device", 6, lambda each: f"{each['overlap']['device']}"),
    ("host", 5, lambda each: f"{each['overlap']['host']}"),
    ("disk", 5, lambda each: f"{each['overlap']['disk']}"),
    ("cached", 7, lambda each: f"{each['cached_tokens']}"),
    ("in prefill", 10, lambda each: f"{each['active_prefill_tokens']}"),
    ("active", 7, lambda each: f"{each['active_blocks']:g}"),
    ("requests", 8, lambda each: f"{each['active_requests']}"),
    ("cost", 12, lambda each: f"{each['cost']:.4f}"),
)


class ExplainError(Exception):
    """There is nothing to show; the text is one line, `exit_code` what the command ends with."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ExplainError(message, USAGE_ERROR)


def run(argv: Sequence[str]) -> int:
    """The command. Returns 0, 1 when the frontend refuses or is not there, 2 for a wrong command line."""
    try:
        options = _parser().parse_args(list(argv))
        url = _url(options.url)
        path, body = _request(options, url)
        _check_is_ours(url)
        answer = _ask(url + path, body)
    except ExplainError as error:
        print(f"dynamo-fe explain: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(answer, indent=2) if options.json else "\n\n".join(map(_table, answer["explanations"])))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dynamo-fe explain", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the frontend")
    parser.add_argument("--model", help="its model; without it the first one listed")
    parser.add_argument("--json", action="store_true", help="print the answer as it comes")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", help="a user's message")
    body = "a file with the JSON body of a chat or completions request; - for standard input"
    source.add_argument("--request", type=Path, help=body)
    return parser


def _url(given: str) -> str:
    try:
        return frontend_url(given)
    except ValueError as error:
        raise ExplainError(str(error), USAGE_ERROR) from None


def _check_is_ours(url: str) -> None:
    """Any other server would take the request that is to be explained for one to be executed."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=_SECS) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        # ours says with a 503 why it is not ready
        text = error.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ExplainError(f"{url}: {_reason(error)}") from None
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not said.keys() >= _READINESS:
        raise ExplainError(f"{url}: not a dynamo-fe, which alone can explain; nothing was sent to it")


def _request(options: argparse.Namespace, url: str) -> tuple[str, dict[str, Any]]:
    if options.request is None:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": options.prompt}]}
    else:
        body = _recorded(options.request)
    if options.model is not None or "model" not in body:
        body["model"] = options.model or _first_model(url)
    return ("/v1/chat/completions" if "messages" in body else "/v1/completions"), body


def _recorded(path: Path) -> dict[str, Any]:
    name, source = ("standard input", 0) if path == _STANDARD_INPUT else (str(path), path)
    try:
        with open(source, "rb", closefd=source != 0) as file:
            recorded = json.load(file)
    except OSError as error:
        raise ExplainError(f"{name}: {error.strerror}", USAGE_ERROR) from None
    except ValueError as error:
        raise ExplainError(f"{name}: not JSON: {error}", USAGE_ERROR) from None
    if not isinstance(recorded, dict) or not {"messages", "prompt"} & recorded.keys():
        raise ExplainError(f"{name}: neither a chat nor a completions request", USAGE_ERROR)
    return recorded


def _reason(error: Exception) -> str:
    """Without the brackets that urllib puts around it."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__


def _first_model(url: str) -> str:
    listed = _ask(f"{url}/v1/models", None).get("data") or []
    if not listed:
        raise ExplainError("the frontend serves no model")
    return str(listed[0]["id"])


def _ask(url: str, body: dict[str, Any] | None) -> dict[str, Any]:
    headers = {"content-type": "application/json", "x-dynamo-fe-explain": "only"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=_SECS) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise ExplainError(f"{url}: {error.code} {_message(error.read())}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ExplainError(f"{url}: {_reason(error)}") from None
    return found


def _message(body: bytes) -> str:
    """Our own words where the answer has them, in `error`; beside them stand the original's, which say less."""
    try:
        said = json.loads(body)
        return str(said.get("error", said)["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace")


def _table(explanation: dict[str, Any]) -> str:
    prompt = f"prompt[{explanation['prompt']}]: " if "prompt" in explanation else ""
    lines = [
        f"{prompt}worker {explanation['worker_id']} rank {explanation['dp_rank']}: {explanation['reason']}",
        f"{explanation['prompt_tokens']} prompt tokens; blocks held and in use, tokens in prefill:",
        " ".join(f"{name:>{width}}" for name, width, _ in _COLUMNS),
    ]
    for each in explanation["candidates"]:
        lines.append(" ".join(f"{show(each):>{width}}" for _, width, show in _COLUMNS))
    more, out = explanation["candidates_left_out"], explanation["not_eligible"]
    if more:
        lines.append(f"and {more} more")
    if out:
        lines.append(f"{out} ranks are not eligible")
    return "\n".join(lines)
