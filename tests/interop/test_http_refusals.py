"""Requests that never reach an application, because they are no HTTP: told by the HTTP library alone.

Granian serves with hyper, as the original does. Its parser answers such a request by itself, with a status and no body
(`hyper::proto::h1::role::Server::on_error`), and offers no way to give it one. So these are not OpenAI errors, but they
are what the original says, byte for byte.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.bad_requests import ON_THE_WIRE
from tests.support.cluster import Cluster
from tests.support.frontends import Frontend
from tests.support.raw_http import head
from tests.support.stores import FileStore

# what a smuggled request would bring
SMUGGLED = head(b"GET", b"/live")
LIBRARYS_OWN = {
    **{
        name: ON_THE_WIRE[name]
        for name in (
            "transfer-encoding twice",
            "unknown transfer-encoding",
            "two different lengths",
            "a list of lengths",
            "negative length",
            "length that is no number",
            "length with a sign",
            "length beyond 64 bits",
            "folded header",
            "space before the colon",
            "header without a colon",
            "header without a name",
            "NUL in a header",
            "control character in a header",
            "bare carriage return in a header",
            "non-ASCII header name",
            "1,000 headers",
            "a header of a megabyte",
            "a path of 100 kB",
            "a path of a megabyte",
            "NUL in the path",
            "raw byte in the path",
            "space in the path",
            "no path",
            "no version",
            "unknown version",
            "broken version",
            "garbage",
            "bad method character",
        )
    },
    "transfer-encoding of HTTP/1.0": b"POST /live HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 headers": head(b"GET", b"/live", *[b"x-%d: 1" % number for number in range(100)]),
}


@dataclass(frozen=True)
class Rivals:
    ours: Frontend
    original: Frontend


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rivals]:
    home = tmp_path_factory.mktemp("refusals")
    with Cluster(FileStore(home / "store"), home) as cluster:
        cluster.mock_worker()
        yield Rivals(cluster.frontend("mock"), cluster.real_frontend("mock"))


def said(frontend: Frontend, request: bytes) -> bytes:
    """Everything up to the end of the connection, which the other side has to bring about; the date is left out."""
    with socket.create_connection(("127.0.0.1", frontend.port), timeout=20) as connection:
        text = b""
        try:
            connection.sendall(request)
        except ConnectionError:
            pass  # refused while it was sent: the answer may still be there
        try:
            while part := connection.recv(1 << 16):
                text += part
        except ConnectionError:
            pass  # closed with some of the request unread
    return re.sub(rb"date: [^\r]*", b"date: -", text)


@pytest.mark.parametrize("name", LIBRARYS_OWN)
def test_it_is_refused_as_by_the_original_and_nothing_behind_it_is_looked_at(rivals: Rivals, name: str) -> None:
    answer = said(rivals.ours, LIBRARYS_OWN[name] + SMUGGLED)
    assert re.fullmatch(rb"HTTP/1.1 4(00|14|31) [^\r]+\r\n(.+\r\n)+\r\n", answer), answer
    assert b"content-length: 0\r\n" in answer and b"connection: close\r\n" in answer
    assert answer == said(rivals.original, LIBRARYS_OWN[name] + SMUGGLED)


@pytest.mark.parametrize("first", [b"content-length: 5", b"transfer-encoding: chunked"])
def test_length_and_chunks_at_once_end_the_connection(rivals: Rivals, first: bytes) -> None:
    """As RFC 9112 §6.1 asks. The original goes on with what is behind it."""
    both = {b"content-length: 5", b"transfer-encoding: chunked"}
    request = head(b"POST", b"/v1/chat/completions", first, *(both - {first}), b"content-type: application/json")
    answer = said(rivals.ours, request + b"0\r\n\r\n" + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400 ") and b'"error"' in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_bare_line_feed_ends_a_line_as_for_the_original(rivals: Rivals) -> None:
    request = b"GET /live HTTP/1.1\nhost: a\nconnection: close\n\n"
    assert said(rivals.ours, request).startswith(b"HTTP/1.1 200 ")
    assert said(rivals.original, request).startswith(b"HTTP/1.1 200 ")
