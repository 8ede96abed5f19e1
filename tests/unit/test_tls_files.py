"""What is wrong with a TLS file is said in one line that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dynamo_fe.planes.tls import TlsFileError, client_context, server_context
from tests.support.certificates import Authority, Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("good")


def refusal(certificate: Path, key: Path, client_authority: Path | None = None) -> str:
    with pytest.raises(TlsFileError) as error:
        server_context(str(certificate), str(key), str(client_authority) if client_authority else None)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_that_cannot_be_used(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    text, broken = tmp_path / "text", tmp_path / "broken"
    text.write_text("hello")
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    encrypted, other = authority.issue("encrypted", encrypted=True), authority.issue("other")
    missing = tmp_path / "missing"
    assert refusal(missing, pair.key) == f"certificate {missing}: No such file or directory"
    assert refusal(pair.certificate, tmp_path) == f"key {tmp_path}: Is a directory"
    assert refusal(text, pair.key) == f"certificate {text} is not PEM"
    assert refusal(pair.certificate, text) == f"key {text} is not PEM"
    assert refusal(*[pair.certificate] * 2) == f"key {pair.certificate} holds no private key"
    assert refusal(broken, pair.key).startswith(f"certificate {broken} with key {pair.key}: ")
    expected = f"key {encrypted.key} is encrypted: give it without a passphrase"
    assert refusal(encrypted.certificate, encrypted.key) == expected
    expected = f"key {other.key} does not belong to certificate {pair.certificate}"
    assert refusal(pair.certificate, other.key) == expected
    assert refusal(*pair, missing) == f"CA certificate {missing}: No such file or directory"
    assert refusal(*pair, text) == f"CA certificate {text} is not PEM"
    assert refusal(*pair, broken).startswith(f"CA certificate {broken}: ")


def test_files_for_a_client(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    client_context(str(authority.certificate), str(pair.certificate), str(pair.key), insecure=False)
    with pytest.raises(TlsFileError, match="No such file"):
        client_context(str(tmp_path / "missing"), None, None, insecure=False)


@pytest.mark.parametrize("prefix", ["--tls", "--tcp-tls"])
def test_the_start_ends_with_one_line(prefix: str, authority: Authority, pair: Pair, tmp_path: Path) -> None:
    encrypted = authority.issue(f"encrypted{prefix}", encrypted=True)
    for certificate, key in ((tmp_path / "missing", pair.key), (encrypted.certificate, encrypted.key)):
        argv = [f"{prefix}-cert-path", str(certificate), f"{prefix}-key-path", str(key), "--discovery-backend", "mem"]
        done = subprocess.run(
            [sys.executable, "-m", "dynamo_fe", "--http-port", "0", *argv], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("dynamo-fe: error: ")
