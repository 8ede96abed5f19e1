"""Which namespaces are shown."""

from __future__ import annotations

import pytest

from dynamo_fe.models.namespaces import NamespaceFilter


@pytest.mark.parametrize(
    ("shown", "namespace", "expected"),
    [
        (NamespaceFilter(), "anything", True),
        (NamespaceFilter(namespace=""), "anything", True),
        (NamespaceFilter(namespace="dynamo"), "anything", True),
        (NamespaceFilter(namespace="wire"), "wire", True),
        (NamespaceFilter(namespace="wire"), "wirefake", False),
        (NamespaceFilter(namespace="wire"), "dynamo", False),
        (NamespaceFilter(prefix="wire"), "wire", True),
        (NamespaceFilter(prefix="wire"), "wirefake", True),
        (NamespaceFilter(prefix="wire"), "awire", False),
        (NamespaceFilter(prefix="dynamo"), "anything", True),
        (NamespaceFilter(prefix=""), "anything", True),
        (NamespaceFilter(namespace="other", prefix="wire"), "wirefake", True),
        (NamespaceFilter(namespace="other", prefix="wire"), "other", False),
        (NamespaceFilter(prefix="wirex", strict=True), "wirex", True),
        (NamespaceFilter(prefix="wirex", strict=True), "wirex-1a2b3c4d", True),
        (NamespaceFilter(prefix="wirex", strict=True), "wirex-ABCDEF12", False),
        (NamespaceFilter(prefix="wirex", strict=True), "wirex-1a2b3c4d5", False),
        (NamespaceFilter(prefix="wirex", strict=True), "wirex-1a2b3c4d\n", False),
        (NamespaceFilter(prefix="wirex", strict=True), "wirexx", False),
    ],
)
def test_what_a_filter_shows(shown: NamespaceFilter, namespace: str, expected: bool) -> None:
    assert shown.shows(namespace) is expected
