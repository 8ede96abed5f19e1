"""What tests of the page at `/` share: how it is written to and read, and answers in place of the service's."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.support.browser import Browser

# What the page asks of the chat path is kept in `sent`; `said` is answered in its place where it is set, and `read`
# in place of everything else.
WATCHED: Final = """
window.sent = []; window.said = window.read = null; window.real = window.fetch;
window.fetch = (path, options) => {
  const isChat = options.method === 'POST', instead = isChat ? said : read;
  if (isChat) sent.push(JSON.parse(options.body).messages);
  return instead ? Promise.resolve(new Response(instead.text, instead)) : real(path, options);
};
"""
ENTER: Final = ("Enter", 13)
ESCAPE: Final = ("Escape", 27)
# a mock worker that anybody can interrupt
SLOW: Final = ("--decode-tokens-per-sec", "20", "--prefill-tokens-per-sec", "100000", "--answer-tokens", "2000")


def said(kind: str) -> str:
    """The text of the last line of that kind."""
    return f"[...document.querySelectorAll('#talk .{kind}')].map((line) => line.textContent).pop()"


def write(browser: Browser, text: str) -> None:
    """Sends a message by keyboard."""
    browser.evaluate("document.getElementById('message').focus()")
    browser.type(text)
    browser.press(*ENTER)


def stream(*choices: dict[str, Any]) -> dict[str, str]:
    """An answer of one event a choice."""
    return {"text": "".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices)}


def answer_instead(browser: Browser, name: str, answer: dict[str, Any]) -> None:
    """Sets `said` or `read`."""
    browser.evaluate(f"{name} = {json.dumps(answer)}; 0")
