"""How etcd's address and admission are read from the settings."""

from __future__ import annotations

import pytest

from dynamo_fe.discovery.etcd_messages import prefix_end
from dynamo_fe.discovery.etcd_options import Endpoint, parse_endpoints
from dynamo_fe.discovery.factory import default_file_root, open_discovery
from tests.support.settings import DiscoveryOptions

PEM = "-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "tls_given", "expected"),
    [
        ("", False, [("localhost:2379", False)]),
        ("http://a:1", True, [("a:1", False)]),
        ("https://a:1", False, [("a:1", True)]),
        ("a:1", False, [("a:1", False)]),
        ("a:1", True, [("a:1", True)]),
        ("http://a, http://b:2/ ,", False, [("a:2379", False), ("b:2", False)]),
        ("http://[::1]:7,http://[::1]", False, [("[::1]:7", False), ("[::1]:2379", False)]),
    ],
)
def test_endpoints(text: str, tls_given: bool, expected: list[tuple[str, bool]]) -> None:
    assert parse_endpoints(text, tls_given) == tuple(Endpoint(target, tls) for target, tls in expected)


@pytest.mark.parametrize("text", ["ftp://a:1", "http://", "https:///path", "http://:1", "a:", "a:x", "a:0", "a:65536"])
def test_an_endpoint_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="etcd endpoint"):
        parse_endpoints(text, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (DiscoveryOptions("etcd", etcd_auth_ca="/etc/ca.pem"), "ETCD_AUTH_CA must hold the PEM text itself"),
        (DiscoveryOptions("etcd", etcd_auth_ca=PEM, etcd_auth_client_cert=PEM), "go together"),
        (DiscoveryOptions("zookeeper"), "'zookeeper' is not known"),
    ],
)
def test_settings_that_can_never_work_are_refused_at_once(options: DiscoveryOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_discovery(options)


def test_the_file_store_lies_in_the_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/somewhere")
    assert default_file_root() == "/somewhere/dynamo_store_kv"
    monkeypatch.delenv("TMPDIR")
    assert default_file_root() == "/tmp/dynamo_store_kv"


@pytest.mark.parametrize(("prefix", "end"), [(b"v1/", b"v10"), (b"a\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0")])
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
