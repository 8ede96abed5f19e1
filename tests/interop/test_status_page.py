"""`GET /` in a real browser: what is served, and a chat by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import ask, until
from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.status_page import ENTER, ESCAPE, SLOW, WATCHED, answer_instead, said, stream, write
from tests.support.stores import FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_a_chat_by_keyboard(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "12")
    frontend: Frontend = cluster.frontend("mock", arguments=["--router-mode", "kv", "--no-router-kv-events"])
    browser.open(f"{frontend.url}/")
    browser.until("document.getElementById('model').value === 'mock'")
    browser.until("document.getElementById('state').textContent === 'ready'")
    browser.until("document.querySelectorAll('#workers tr').length")
    write(browser, "<b>hello</b>")
    browser.until("!document.getElementById('send').disabled && " + said("assistant"))
    assert browser.evaluate(said("user")) == "<b>hello</b>"
    assert browser.evaluate("document.querySelectorAll('#talk b').length") == 0
    assert "worker" in browser.until("document.getElementById('explanation').textContent")
    assert browser.problems == []
    assert {url.split("/")[2] for url in browser.requested if "://" in url} == {f"127.0.0.1:{frontend.port}"}


def instances(frontend: Frontend) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(f"{frontend.url}/health")[1])["instances"]
    return found


def test_only_what_serves_a_model_is_listed_as_a_worker(cluster: Cluster, browser: Browser) -> None:
    """Real workers answer for what their KV caches hold at endpoints of their own."""
    cluster.mocker(workers=2)
    frontend = cluster.frontend("mock")
    until(lambda: len(instances(frontend)) > 2, "endpoints beside those that serve")
    serving = sorted(str(each["instance_id"]) for each in instances(frontend) if each["endpoint"] == "generate")
    browser.open(f"{frontend.url}/")
    browser.until("document.querySelectorAll('#workers tr').length")
    rows = browser.evaluate("[...document.querySelectorAll('#workers tr')].map((row) => row.cells[0].textContent)")
    assert rows == ["dynamo/backend/generate"] * 2
    numbers = browser.evaluate("[...document.querySelectorAll('#workers tr')].map((row) => row.cells[1].textContent)")
    assert sorted(numbers) == serving


def limit(browser: Browser, tokens: str) -> None:
    browser.evaluate("document.getElementById('limit').focus(); document.getElementById('limit').select()")
    browser.type(tokens)


def test_an_answer_ends_at_the_limit_of_tokens_that_is_typed(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "2000")
    frontend = cluster.frontend("mock")
    browser.open(f"{frontend.url}/")
    browser.until("document.getElementById('model').value === 'mock'")
    assert browser.evaluate("document.getElementById('limit').value") == "1024"
    limit(browser, "3")
    write(browser, "hello")
    assert "limit of tokens" in browser.until(said("note"))


def test_a_real_worker_that_needs_a_limit_of_tokens_has_one(cluster: Cluster, browser: Browser) -> None:
    cluster.mocker(workers=1)
    frontend = cluster.frontend("mock")
    browser.open(f"{frontend.url}/")
    browser.until("document.getElementById('model').value === 'mock'")
    limit(browser, "3")
    write(browser, "hello")
    # its tokens are none that the tokenizer has a text for
    browser.until(said("failure") + " === 'the answer has no text'")
    browser.until("!running")
    browser.evaluate("document.getElementById('limit').value = ''")
    browser.press(*ENTER)
    browser.until(said("failure") + ".includes('max_tokens')")


def test_escape_stops_a_stream_and_the_worker_hears_of_it(cluster: Cluster, browser: Browser) -> None:
    worker = cluster.mock_worker(*SLOW)
    frontend = cluster.frontend("mock")
    browser.open(f"{frontend.url}/")
    browser.until("document.getElementById('model').value === 'mock'")
    write(browser, "hello")
    browser.until(said("assistant"))
    assert browser.evaluate("document.getElementById('stop').disabled") is False
    browser.press(*ESCAPE)
    browser.until(said("failure") + " === 'stopped'")
    assert browser.evaluate("document.getElementById('stop').disabled") is True
    worker.wait_for_output("kill")
    write(browser, "again")
    browser.until("document.querySelectorAll('#talk .assistant').length === 2 && " + said("assistant"))


def test_without_workers_it_says_what_it_waits_for_and_in_the_dark(cluster: Cluster, browser: Browser) -> None:
    frontend = cluster.frontend()
    frontend.process.wait_for_output("serving on")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.open(f"{frontend.url}/")
    assert browser.until("document.getElementById('reasons').textContent")
    assert browser.evaluate("document.getElementById('state').textContent") == "not ready"
    background, text = (
        browser.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    assert text == "rgb(255, 255, 255)", (background, text)


def test_numbers_of_64_bits_are_shown_as_they_are(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "3")
    frontend = cluster.frontend("mock", arguments=["--router-mode", "kv", "--no-router-kv-events"])
    number = instances(frontend)[0]["instance_id"]
    assert number > 2**53, "an id that no double holds exactly"
    browser.open(f"{frontend.url}/")
    browser.until("document.querySelectorAll('#workers tr').length")
    assert browser.evaluate("document.querySelector('#workers tr').cells[1].textContent") == str(number)
    write(browser, "hello")
    assert f'"worker_id": "{number}"' in browser.until("document.getElementById('explanation').textContent")
    numbers = '[-12345678901234567, 0.1234567890123456, "1234567890123456", 12]'
    read = browser.evaluate(f"JSON.stringify(parse({json.dumps(numbers)}))")
    assert read == '["-12345678901234567",0.1234567890123456,"1234567890123456",12]'


def test_clear_ends_a_running_answer_for_good(cluster: Cluster, browser: Browser) -> None:
    worker = cluster.mock_worker(*SLOW)
    frontend = cluster.frontend("mock")
    browser.open(f"{frontend.url}/")
    browser.evaluate(WATCHED)
    browser.until("document.getElementById('model').value === 'mock'")
    write(browser, "hello")
    browser.until(said("assistant"))
    browser.evaluate("document.getElementById('clear').click()")
    worker.wait_for_output("kill")
    browser.until("!document.getElementById('send').disabled")
    assert browser.evaluate("document.getElementById('talk').childElementCount") == 0
    write(browser, "afresh")
    browser.until(said("assistant"))
    assert browser.evaluate("sent[1]") == [{"role": "user", "content": "afresh"}]


def test_what_failed_or_was_only_thought_is_not_sent_again(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "3")
    frontend = cluster.frontend("mock")
    browser.open(f"{frontend.url}/")
    browser.evaluate(WATCHED)
    browser.until("document.getElementById('model').value === 'mock'")
    busy = {"status": 503, "headers": {"retry-after": "7"}, "text": json.dumps({"message": "no room"})}
    answer_instead(browser, "said", busy)
    write(browser, "one")
    browser.until(said("failure") + " === 'no room (try again in 7 s)'")
    assert browser.evaluate("document.getElementById('message').value") == "one"
    answer_instead(browser, "said", {"status": 502, "statusText": "Bad Gateway", "text": "<html>"})
    browser.press(*ENTER)
    browser.until(said("failure") + " === '<html>'")
    deltas = [{"reasoning_content": "well"}, {"content": "an"}, {"content": "swer"}]
    answer_instead(browser, "said", stream(*({"delta": delta} for delta in deltas)))
    browser.press(*ENTER)
    browser.until(said("assistant") + " === 'answer'")
    assert browser.evaluate(said("reasoning")) == "well"
    browser.evaluate("said = null")
    write(browser, "two")
    browser.until("document.querySelectorAll('#talk .assistant').length === 2")
    assert browser.evaluate("sent.pop()") == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "two"},
    ]
