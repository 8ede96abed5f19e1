"""The page at `/` when things go wrong, or are long, narrow or many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.processes import free_port
from tests.support.status_page import ENTER, SLOW, WATCHED, answer_instead, said, stream, write
from tests.support.stores import FileStore

STATE = "document.getElementById('state').textContent"
MODEL = "document.getElementById('model')"
# how often the page has asked what is served
ASKED = "performance.getEntriesByType('resource').filter((each) => each.name.endsWith('/ready')).length"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def begin(browser: Browser, url: str) -> None:
    """Opens the page, once it offers a model."""
    browser.open(f"{url}/")
    browser.evaluate(WATCHED)
    browser.until(f"{MODEL}.value === 'mock'")


def test_a_chosen_model_that_vanishes_is_not_replaced_unawares(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "3")
    leaving = cluster.mock_worker("--answer-tokens", "3", "--model-name", "passing")
    frontend = cluster.frontend("mock", "passing")
    begin(browser, frontend.url)
    choose = f"{MODEL}.value = '%s'; {MODEL}.dispatchEvent(new Event('change')); 0"
    browser.evaluate(choose % "passing")
    leaving.stop()
    assert browser.until(f"{MODEL}.validationMessage") == "This model is not served now."
    assert browser.evaluate(f"{MODEL}.selectedOptions[0].text") == "passing (not served now)"
    write(browser, "hello")
    assert browser.evaluate("sent.length") == 0
    browser.evaluate(choose % "mock")
    assert browser.evaluate(f"[{MODEL}.checkValidity(), {MODEL}.options.length]") == [True, 1]
    browser.evaluate("document.getElementById('message').focus()")
    browser.press(*ENTER)
    browser.until(said("assistant"))


def test_without_a_model_nothing_is_sent_and_it_says_why(cluster: Cluster, browser: Browser) -> None:
    frontend = cluster.frontend()
    frontend.process.wait_for_output("serving on")
    browser.open(f"{frontend.url}/")
    browser.evaluate(WATCHED)
    assert browser.until(f"{MODEL}.validationMessage") == "No model is served yet."
    write(browser, "hello")
    assert browser.evaluate("sent.length") == 0
    assert browser.evaluate("document.getElementById('message').value") == "hello"
    cluster.mock_worker("--answer-tokens", "3")
    browser.until(f"{MODEL}.checkValidity()")
    browser.evaluate("document.getElementById('message').focus()")
    browser.press(*ENTER)
    browser.until(said("assistant"))


def test_what_is_selected_stays_selected(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker()
    frontend = cluster.frontend("mock")
    begin(browser, frontend.url)
    browser.evaluate("getSelection().selectAllChildren(document.querySelector('#workers tr').cells[1])")
    selected = browser.evaluate("getSelection().toString()")
    asked = browser.evaluate(ASKED)
    browser.until(f"{ASKED} > {asked} + 1")
    assert browser.evaluate("getSelection().toString()") == selected != ""


def test_a_frontend_that_dies_is_told_from_one_that_answers(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker(*SLOW)
    frontend = cluster.frontend("mock")
    begin(browser, frontend.url)
    write(browser, "hello")
    browser.until(said("assistant"))
    frontend.process.kill()
    assert browser.until(said("failure")).startswith("the connection failed: ")
    browser.until(f"{STATE}.startsWith('no answer: ')")
    assert browser.evaluate("document.getElementById('served').className") == "stale"
    answer_instead(browser, "read", {"status": 502, "statusText": "Bad Gateway", "text": ""})
    browser.until(f"{STATE} === 'no answer: 502 Bad Gateway'")
    busy = {"status": 503, "headers": {"retry-after": "5"}, "text": '{"message": "too many connections"}'}
    answer_instead(browser, "read", busy)
    browser.until(f"{STATE} === 'no answer: too many connections (try again in 5 s)'")
    status = '{"status": "ready", "models": ["mock"], "reasons": []}'
    answer_instead(browser, "read", {"text": status})
    browser.until(f"{STATE} === 'ready' && document.getElementById('served').className === ''")


def test_a_reload_in_a_stream_ends_it_and_begins_afresh(cluster: Cluster, browser: Browser) -> None:
    worker = cluster.mock_worker(*SLOW)
    frontend = cluster.frontend("mock")
    begin(browser, frontend.url)
    write(browser, "hello")
    browser.until(said("assistant"))
    browser.call("Page.reload")
    worker.wait_for_output("kill")
    browser.until(f"document.readyState === 'complete' && {MODEL}.value === 'mock'")
    assert browser.evaluate("document.getElementById('talk').childElementCount") == 0
    write(browser, "again")
    browser.until(said("assistant"))


def test_the_focus_stays_where_the_user_has_put_it(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker(*SLOW)
    frontend = cluster.frontend("mock")
    begin(browser, frontend.url)
    write(browser, "hello")
    browser.until(said("assistant"))
    assert browser.evaluate("document.getElementById('talk').ariaBusy") == "true"
    browser.evaluate(f"{MODEL}.focus(); stop(); 0")
    browser.until(said("failure") + " === 'stopped' && !running")
    assert browser.evaluate("document.activeElement.id") == "model"
    assert browser.evaluate("document.getElementById('talk').ariaBusy") == "false"
    for button in ("send", "stop"):
        browser.evaluate("document.getElementById('message').value = 'again'")
        browser.evaluate(f"document.getElementById('{button}').focus(); document.getElementById('{button}').click()")
        browser.until("document.activeElement.id === 'message'")
    browser.until("!running")
    browser.evaluate("document.getElementById('clear').focus(); document.getElementById('clear').click()")
    assert browser.evaluate("document.activeElement.id") == "message"


def test_a_long_answer_is_shown_once_a_frame(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker()
    frontend = cluster.frontend("mock")
    begin(browser, frontend.url)
    words = [f"word{number} " for number in range(20_000)]
    choices = [{"delta": {"content": word}} for word in words]
    answer_instead(browser, "said", stream(*choices, {"delta": {}, "finish_reason": "length"}))
    count = "(changes) => { window.changes += changes.length }"
    watch = "{characterData: true, subtree: true}"
    browser.evaluate(f"changes = 0; new MutationObserver({count}).observe(document.getElementById('talk'), {watch})")
    write(browser, "much")
    assert "limit of tokens" in browser.until(said("note"))
    browser.until("!running")
    assert browser.evaluate(said("assistant")) == "".join(words)
    assert 0 < browser.evaluate("changes") < len(words) // 10
    place = "document.getElementById('talk')"
    assert browser.evaluate(f"{place}.scrollHeight - {place}.scrollTop - {place}.clientHeight") < 2


def test_a_narrow_screen_needs_no_scrolling_sideways(cluster: Cluster, browser: Browser) -> None:
    name = "a-model-of-a-" + "very-" * 12 + "long_name" * 12
    cluster.mock_worker("--answer-tokens", "3", "--model-name", name)
    frontend = cluster.frontend(name)
    browser.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=False)
    browser.open(f"{frontend.url}/")
    browser.evaluate(WATCHED)
    browser.until(f"{MODEL}.value === '{name}'")
    answer_instead(browser, "said", stream({"delta": {"content": "long" * 100}}))
    write(browser, "wide" * 100)
    browser.until(said("assistant"))
    for part in ("html", "#talk", ".scroll"):
        box = f"document.querySelector('{part}')"
        assert browser.evaluate(f"{box}.scrollWidth <= {box}.clientWidth"), part


def test_beside_grpc_alone_there_is_no_chat(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker()
    port = free_port()
    frontend = cluster.frontend(arguments=["--kserve-grpc-server", "--grpc-metrics-port", str(port)])
    frontend.process.wait_for_output("serving on")
    browser.open(f"http://127.0.0.1:{port}/")
    browser.until(f"{STATE} === 'ready'")
    assert browser.evaluate("document.getElementById('models').textContent") == "mock"
    assert browser.evaluate("document.getElementById('chat').checkVisibility()") is False
