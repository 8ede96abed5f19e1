"""Methods, paths and content types of the routes that are no inference, as the original has them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.raw_http import Reply, exchange, head, post
from tests.support.stores import FileStore

GETS = ["/v1/models", "/v1/models/mock", "/v1/models/mock/ready", "/health", "/live", "/ready", "/metrics"]
GETS += ["/openapi.json", "/docs/", "/docs/index.html", "/docs/viewer.css", "/docs/viewer.js", "/busy_threshold"]
ORIGIN = "https://app.example"
MOVED = {
    "DYN_HTTP_SVC_CHAT_PATH": "/a/chat",
    "DYN_HTTP_SVC_CMP_PATH": "/a/completions",
    "DYN_HTTP_SVC_MODELS_PATH": "/m",
    "DYN_HTTP_SVC_HEALTH_PATH": "/a/health",
    "DYN_HTTP_SVC_LIVE_PATH": "alive",
    "DYN_HTTP_SVC_METRICS_PATH": "/a/metrics",
    "DYN_DISABLE_FRONTEND_ADMIN_API": "1",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home: Path = tmp_path_factory.mktemp("routes")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker()
        yield cluster


@pytest.fixture(scope="module")
def frontend(cluster: Cluster) -> Frontend:
    return cluster.frontend("mock", arguments=["--active-prefill-tokens-threshold", "900"])


@pytest.fixture(scope="module")
def moved(cluster: Cluster) -> Frontend:
    frontend = cluster.frontend(environment=MOVED)
    frontend.process.wait_until(lambda: listed(frontend, "/m") == ["mock"], "the model under its moved path")
    return frontend


@pytest.fixture(scope="module")
def open_to_browsers(cluster: Cluster) -> Frontend:
    return cluster.frontend("mock", arguments=["--cors-allow-origin", ORIGIN])


def ask(frontend: Frontend, method: str, path: str, *headers: str) -> Reply:
    fields = [b"connection: close", *(header.encode() for header in headers)]
    return exchange(frontend.port, [head(method.encode(), path.encode(), *fields)], bodiless=method == "HEAD")


def listed(frontend: Frontend, path: str) -> list[str]:
    try:
        return [entry["id"] for entry in ask(frontend, "GET", path).json()["data"]]
    except (OSError, ValueError, KeyError):
        return []


def threshold(frontend: Frontend, body: Any) -> Reply:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return exchange(frontend.port, [post(b"/busy_threshold", text)])


# what has the time in it is as long as its numbers
@pytest.mark.parametrize("path", [path for path in GETS if path not in ("/metrics", "/ready")])
def test_head_has_the_length_of_the_body_and_no_body(frontend: Frontend, path: str) -> None:
    full, bare = ask(frontend, "GET", path), ask(frontend, "HEAD", path)
    assert full.status == bare.status == 200
    assert full.headers["content-length"] == bare.headers["content-length"] == str(len(full.body))
    assert full.headers["content-type"] == bare.headers["content-type"]


def test_head_brings_no_body(frontend: Frontend) -> None:
    twice = head(b"HEAD", b"/live") + head(b"HEAD", b"/live", b"connection: close")
    with socket.create_connection(("127.0.0.1", frontend.port), timeout=10) as connection:
        connection.sendall(twice)
        text = b""
        while part := connection.recv(65536):
            text += part
    assert text.count(b"HTTP/1.1 200") == 2 and b"Service" not in text


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/live", "GET,HEAD"),
        ("OPTIONS", "/live", "GET,HEAD"),
        ("get", "/live", "GET,HEAD"),
        ("DELETE", "/v1/models/mock", "GET,HEAD"),
        ("POST", "/v1/models/mock/ready", "GET,HEAD"),
        ("PUT", "/busy_threshold", "POST,GET,HEAD"),
        ("GET", "/v1/chat/completions", "POST"),
        ("HEAD", "/v1/completions", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(frontend: Frontend, method: str, path: str, allow: str) -> None:
    reply = ask(frontend, method, path)
    assert (reply.status, reply.headers["allow"], reply.body) == (405, allow, b"")


@pytest.mark.parametrize("path", ["/nope", "/live/", "/v1/models/", "/v1", "//live", "/LIVE", "/docs/nope.js"])
def test_an_unknown_path_is_named(frontend: Frontend, path: str) -> None:
    reply = ask(frontend, "GET", path)
    body = reply.json()
    assert reply.status == 404
    assert (body["message"], body["type"], body["code"]) == (f"Route not found: GET {path}", "Not Found", 404)


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/models/a/b", "/v1/models/nope/ready", "/v1/models/a/b/ready"])
def test_an_unknown_model_is_not_found(frontend: Frontend, path: str) -> None:
    reply = ask(frontend, "GET", path)
    assert (reply.status, reply.json()["message"]) == (404, "Model not found")


def test_readiness_of_a_model(frontend: Frontend) -> None:
    assert ask(frontend, "GET", "/v1/models/mock/ready").json() == {
        "model": "mock",
        "ready": True,
        "namespaces": {
            "dynamo": {
                "ready": True,
                "worker_types": {"aggregated": {"workers": 1, "needs": []}},
                "present": ["aggregated"],
                "missing_worker_types": [],
            }
        },
    }


def test_paths_can_be_moved_and_the_usual_ones_are_gone(moved: Frontend) -> None:
    for path in ("/m", "/m/mock", "/m/mock/ready", "/a/health", "/alive", "/a/metrics"):
        assert ask(moved, "GET", path).status == 200, path
    for path in ("/v1/models", "/v1/models/mock", "/health", "/live", "/metrics", "/busy_threshold"):
        assert ask(moved, "GET", path).status == 404, path
    chat = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}).encode()
    prompt = json.dumps({"model": "mock", "prompt": "a", "max_tokens": 1}).encode()
    for there, gone, body in (
        (b"/a/chat", b"/v1/chat/completions", chat),
        (b"/a/completions", b"/v1/completions", prompt),
    ):
        assert exchange(moved.port, [post(there, body)]).status == 200
        assert exchange(moved.port, [post(gone, body)]).status == 404
    assert {"/a/chat", "/m", "/m/{model_id}", "/alive"} <= ask(moved, "GET", "/openapi.json").json()["paths"].keys()


def test_the_description_names_every_route(frontend: Frontend) -> None:
    reply = ask(frontend, "GET", "/openapi.json")
    document = reply.json()
    assert reply.headers["content-type"] == "application/json" and document["openapi"] == "3.1.0"
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {("/v1/chat/completions", "post"), ("/v1/models", "get"), ("/busy_threshold", "post")} <= described
    schema = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    assert "messages" in document["components"]["schemas"][name]["properties"]


def test_the_page_needs_nothing_from_elsewhere(frontend: Frontend) -> None:
    reply = ask(frontend, "GET", "/docs")
    assert (reply.status, reply.headers["location"], reply.body) == (303, "/docs/", b"")
    page, script = ask(frontend, "GET", "/docs/"), ask(frontend, "GET", "/docs/viewer.js")
    assert page.headers["content-type"] == "text/html"
    assert script.headers["content-type"] == "text/javascript"
    style = ask(frontend, "GET", "/docs/viewer.css")
    assert style.headers["content-type"] == "text/css"
    assert not re.search(rb"https?://|src=\"//", page.body + script.body + style.body)
    # which forbids what stands in the page itself
    policy = ask(frontend, "GET", "/").headers["content-security-policy"]
    assert {each.headers["content-security-policy"] for each in (page, script, style)} == {policy}
    assert b"<style" not in page.body and b" style=" not in page.body
    # and that another site frames the page, or sends what is written in it elsewhere
    assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )


def test_thresholds_are_shown_changed_and_kept(frontend: Frontend) -> None:
    empty = {"active_decode_blocks_threshold": None, "active_prefill_tokens_threshold_frac": None}
    entry = {"model": "mock", **empty, "active_prefill_tokens_threshold": 900}
    assert ask(frontend, "GET", "/busy_threshold").json() == {"thresholds": [entry]}
    changed = entry | {"active_decode_blocks_threshold": 0.5}
    for body in ({"model": "mock", "active_decode_blocks_threshold": 0.5}, {"model": "mock"}):
        reply = threshold(frontend, body)
        assert (reply.status, reply.json()) == (200, changed)
    assert ask(frontend, "GET", "/busy_threshold").json() == {"thresholds": [changed]}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "nope", "active_decode_blocks_threshold": 0.5}, 404,
         "Model 'nope' not found. Thresholds can only be set for discovered models."),
        ({"model": "mock", "active_decode_blocks_threshold": 1.5}, 400,
         "active_decode_blocks_threshold must be between 0.0 and 1.0, got 1.5"),
        ({"model": "mock", "active_prefill_tokens_threshold_frac": -1}, 400,
         "active_prefill_tokens_threshold_frac must be a finite value greater than or equal to 0.0, got -1"),
        ({"model": "mock", "active_prefill_tokens_threshold": -1}, 422,
         "Failed to deserialize the JSON body into the target type: Expected `int` >= 0"
         " at `active_prefill_tokens_threshold`"),
        ({}, 422, "Failed to deserialize the JSON body into the target type: missing field `model`"),
    ],
)  # fmt: skip
def test_thresholds_that_are_refused(frontend: Frontend, body: Any, status: int, text: str) -> None:
    reply = threshold(frontend, body)
    assert (reply.status, reply.json()) == (status, {"error": text})


def test_thresholds_take_json_only(frontend: Frontend) -> None:
    request = head(b"POST", b"/busy_threshold", b"content-type: text/plain", b"content-length: 2") + b"{}"
    reply = exchange(frontend.port, [request])
    assert (reply.status, reply.body) == (415, b"Expected request with `Content-Type: application/json`")
    assert threshold(frontend, b"{").headers["content-type"] == "text/plain; charset=utf-8"


def test_a_browser_may_ask_before_it_calls(open_to_browsers: Frontend) -> None:
    asked = ["access-control-request-method: POST", "access-control-request-headers: content-type, x-a"]
    reply = ask(open_to_browsers, "OPTIONS", "/v1/chat/completions", f"origin: {ORIGIN}", *asked)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert reply.headers["access-control-allow-headers"] == "content-type, x-a"


@pytest.mark.parametrize("path", ["/live", "/nope", "/v1/models/nope"])
def test_answers_name_the_allowed_origin_errors_too(open_to_browsers: Frontend, path: str) -> None:
    assert ask(open_to_browsers, "GET", path, f"origin: {ORIGIN}").headers["access-control-allow-origin"] == ORIGIN
    other = ask(open_to_browsers, "GET", path, "origin: https://other.example")
    assert "access-control-allow-origin" not in other.headers and other.headers["vary"] == "origin"


def test_without_the_setting_there_is_no_cors(frontend: Frontend) -> None:
    asked = ask(frontend, "OPTIONS", "/live", f"origin: {ORIGIN}", "access-control-request-method: GET")
    answered = ask(frontend, "GET", "/live", f"origin: {ORIGIN}")
    assert asked.status == 405
    assert not [name for reply in (asked, answered) for name in reply.headers if name.startswith("access-control")]
