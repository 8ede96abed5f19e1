"""A metrics page as numbers, so that two of them can be compared."""

from __future__ import annotations

import http.client
import re
from typing import TypeAlias

# by the name of the sample and its labels, `key="value"` each, in the order of their names
Sample: TypeAlias = tuple[str, ...]
Page: TypeAlias = dict[Sample, float]

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'\w+="(?:[^"\\]|\\.)*"')


def parse(text: str) -> Page:
    """Every sample of the page."""
    return {(name, *sorted(_LABEL.findall(labels))): float(value) for name, labels, value in _LINE.findall(text)}


def scrape(port: int) -> Page:
    """What `/metrics` on that port of 127.0.0.1 says now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return parse(connection.getresponse().read().decode())
    finally:
        connection.close()


def growth(before: Page, after: Page) -> Page:
    """What has changed."""
    return {
        sample: value - before.get(sample, 0) for sample, value in after.items() if value != before.get(sample, 0)
    }
