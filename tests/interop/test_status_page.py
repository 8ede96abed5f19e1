"""`GET /` in a real browser: what is served, and a chat by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.stores import FileStore

ENTER, ESCAPE = ("Enter", 13), ("Escape", 27)
SLOW = ("--decode-tokens-per-sec", "20", "--prefill-tokens-per-sec", "100000", "--answer-tokens", "2000")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(FileStore(tmp_path / "store"), tmp_path) as cluster:
        yield cluster


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as browser:
        yield browser


def said(kind: str) -> str:
    """The text of the last line of that kind."""
    return f"[...document.querySelectorAll('#talk .{kind}')].map((line) => line.textContent).pop()"


def write(browser: Browser, text: str) -> None:
    browser.evaluate("document.getElementById('message').focus()")
    browser.type(text)
    browser.press(*ENTER)


def test_a_chat_by_keyboard(cluster: Cluster, browser: Browser) -> None:
    cluster.mock_worker("--answer-tokens", "12")
    frontend: Frontend = cluster.frontend("mock", arguments=["--router-mode", "kv", "--no-router-kv-events"])
    browser.open(f"{frontend.url}/")
    browser.until("document.getElementById('model').value === 'mock'")
    assert browser.evaluate("document.getElementById('state').textContent") == "ready"
    assert browser.evaluate("document.querySelectorAll('#workers tr').length") >= 1
    write(browser, "<b>hello</b>")
    browser.until("!document.getElementById('send').disabled && " + said("assistant"))
    assert browser.evaluate(said("user")) == "<b>hello</b>"
    assert browser.evaluate("document.querySelectorAll('#talk b').length") == 0
    assert "worker" in browser.until("document.getElementById('explanation').textContent")
    assert browser.problems == []
    assert {url.split("/")[2] for url in browser.requested if "://" in url} == {f"127.0.0.1:{frontend.port}"}


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
