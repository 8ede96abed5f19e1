"""Addresses of media: how they are written for a worker, and which point inside."""

from __future__ import annotations

import pytest

from dynamo_fe.pipeline.media_url import NoUrl, media_url


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("http://X.test", "http://x.test/"),
        (" \thttps://x.test/a b\n", "https://x.test/a%20b"),
        ("http:x.test/a", "http://x.test/a"),
        ("http:\\\\x.test\\a", "http://x.test/a"),
        ("http://user:pw@x.test:80/a?q=1#f", "http://user:pw@x.test/a?q=1#f"),
        ("http://b\u00fccher.de/a", "http://xn--bcher-kva.de/a"),
        ("http://foo.localhost/a", "http://foo.localhost/a"),
        ("DATA:image/png;base64,AA==", "data:image/png;base64,AA=="),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_as_the_original_writes_it(given: str, written: str) -> None:
    assert media_url(given) == (written, False)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("http://127.0.0.1/a", "http://127.0.0.1/a"),
        ("http://0x7f.1/a", "http://127.0.0.1/a"),
        ("http://017700000001/", "http://127.0.0.1/"),
        ("http://2130706433", "http://127.0.0.1/"),
        ("http://%31%32%37.0.0.1./", "http://127.0.0.1/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[0:0::1]/", "http://[::1]/"),
        ("http://x.test:8080/", "http://x.test:8080/"),
        ("https://x.test:80/", "https://x.test:80/"),
        ("http://LocalHost./", "http://localhost./"),
        ("http://metadata.google.internal/", "http://metadata.google.internal/"),
        ("http://kubernetes.default.svc/", "http://kubernetes.default.svc/"),
    ],
)
def test_what_points_inside(given: str, written: str) -> None:
    assert media_url(given) == (written, True)


@pytest.mark.parametrize(
    "given",
    ["", "nothing", "http://", "http://x y/", "http://256.1.1.1/", "http://1.2.3.4.5/", "http://x.1/", "http://[x]/",
     "http://x.test:65536/", "http://08.1/"],
)  # fmt: skip
def test_what_is_none(given: str) -> None:
    with pytest.raises(NoUrl):
        media_url(given)
