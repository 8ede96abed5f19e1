"""A metrics page as numbers, so that two of them can be compared."""

from __future__ import annotations

import http.client
import re
from typing import TypeAlias

# by the name of the sample and its labels, `key="value"` each, in the order of their names
Sample: TypeAlias = tuple[str, ...]
Page: TypeAlias = dict[Sample, float]

_ROUTER_LABELS = ("router_id=", "worker_id=")
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
    return {sample: value - before.get(sample, 0) for sample, value in after.items() if value != before.get(sample, 0)}


def without_routers(page: Page, counted: re.Pattern[str]) -> Page:
    """The samples of these names, without the labels by which a KV router names itself."""
    return {
        (name, *(label for label in labels if not label.startswith(_ROUTER_LABELS))): value
        for (name, *labels), value in page.items()
        if counted.fullmatch(name)
    }


def unequal(real: Page, ours: Page) -> list[str]:
    """A line for each sample in which they differ."""
    return [
        f"{sample}: real {real.get(sample)} ours {ours.get(sample)}"
        for sample in sorted(real | ours)
        if real.get(sample) != ours.get(sample)
    ]
