"""Finding the API server and what opens its door."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.discovery.kube_access import AccessError, Credentials, Pem
from dynamo_fe.discovery.kube_config import load_access
from tests.support.certificates import Authority

NOWHERE = Path("/nonexistent")


def kubeconfig(path: Path, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, str]:
    """Writes one, and returns the environment that names it."""
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443/prefix/"} | cluster}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path)}


def service_account(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text("in-cluster\n")
    (folder / "ca.crt").write_text("PEM")
    return {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


def test_a_kubeconfig_says_where(tmp_path: Path) -> None:
    access = load_access(kubeconfig(tmp_path / "config", {"token": "t"}), NOWHERE)
    assert (access.host, access.port, access.use_tls, access.base_path) == ("api.example", 6443, True, "/prefix")
    assert access.token == "t" and access.verify


def test_home_is_looked_into_when_no_variable_names_one(tmp_path: Path) -> None:
    kubeconfig(tmp_path / ".kube" / "config", server="http://[::1]:8080")
    access = load_access({"HOME": str(tmp_path)}, NOWHERE)
    assert (access.address, access.use_tls) == ("[::1]:8080", False)


def test_of_several_files_the_first_that_says_a_thing_counts(tmp_path: Path) -> None:
    kubeconfig(tmp_path / "a" / "config", {"tokenFile": "token"})
    (tmp_path / "b").write_text("current-context: other\nusers: [{name: u, user: {token: second}}]\n")
    paths = [tmp_path / "missing", tmp_path / "a" / "config", tmp_path / "b"]
    access = load_access({"KUBECONFIG": ":".join(map(str, paths))}, NOWHERE)
    assert (access.host, access.token) == ("api.example", "")
    assert access.token_path == str(tmp_path / "a" / "token")


def test_the_pods_own_account_is_used_without_a_kubeconfig(tmp_path: Path) -> None:
    environment = service_account(tmp_path)
    access = load_access(environment, tmp_path)
    assert (access.address, access.use_tls) == ("10.0.0.1:6443", True)
    assert (access.token_path, access.ca) == (str(tmp_path / "token"), Pem(path=str(tmp_path / "ca.crt")))
    # A kubeconfig wins, one that cannot be used does not.
    assert load_access(environment | kubeconfig(tmp_path / "config"), tmp_path).host == "api.example"
    (tmp_path / "config").write_text("{")
    assert load_access(environment | {"KUBECONFIG": str(tmp_path / "config")}, tmp_path).host == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config: "),
        ("[]", "is not a kubeconfig"),
        ("{}", "it has no current-context"),
        ("current-context: x", "it has no context 'x'"),
        ("{current-context: x, contexts: 7}", "it has no context 'x'"),
        ("{current-context: x, contexts: {x: 7}}", "it has no context 'x'"),
        (json.dumps({"current-context": "x", "contexts": [{"name": "x", "context": {}}]}), "it has no cluster None"),
    ],
)
def test_both_reasons_are_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ValueError) as error:
        load_access({"KUBECONFIG": str(tmp_path / "config")}, NOWHERE)
    assert words in str(error.value) and "in-cluster: KUBERNETES_SERVICE_HOST is not set" in str(error.value)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ({}, "names no command"),
        ({"command": "x", "args": 7}, "args and env of exec must be lists"),
        ({"command": "x", "env": {"A": "b"}}, "args and env of exec must be lists"),
        ({"command": "x", "env": [7]}, "must hold names and values"),
        ({"command": "x", "env": [{"name": "A"}]}, "must hold names and values"),
    ],
)
def test_a_program_that_cannot_be_started(tmp_path: Path, program: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_access(kubeconfig(tmp_path / "config", user={"exec": program}), NOWHERE)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"server": "api:6443"}, "is not an http or https address"),
        ({"proxy-url": "http://proxy"}, "proxy-url is not supported"),
        ({"certificate-authority-data": "?"}, "certificate-authority-data"),
    ],
)
def test_a_cluster_that_cannot_be_used(tmp_path: Path, cluster: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_access(kubeconfig(tmp_path / "config", **cluster), NOWHERE)


async def authorization(environment: dict[str, str]) -> str:
    return await Credentials(load_access(environment, NOWHERE)).authorization()


async def test_ways_to_say_who_one_is(tmp_path: Path) -> None:
    path = tmp_path / "config"
    assert await authorization(kubeconfig(path)) == ""
    assert await authorization(kubeconfig(path, {"token": "t"})) == "Bearer t"
    basic = base64.b64encode(b"me:secret").decode()
    assert await authorization(kubeconfig(path, {"username": "me", "password": "secret"})) == f"Basic {basic}"


async def test_a_token_file_is_read_whenever_it_is_needed(tmp_path: Path) -> None:
    credentials = Credentials(load_access(kubeconfig(tmp_path / "config", {"tokenFile": "token"}), NOWHERE))
    with pytest.raises(AccessError, match="token"):
        await credentials.authorization()
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert await credentials.authorization() == f"Bearer {token}"


PROGRAM = """
import json, os, sys
assert json.loads(os.environ["KUBERNETES_EXEC_INFO"])["kind"] == "ExecCredential"
with open(sys.argv[1], "a+") as calls:
    calls.write("x")
    calls.seek(0)
    number = len(calls.read())
status = {"token": f"{os.environ['PREFIX']}-{number}", "expirationTimestamp": sys.argv[2]}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


@pytest.mark.parametrize(("until", "second"), [("2099-01-01T00:00:00Z", "t-1"), ("2020-01-01T00:00:00Z", "t-2")])
async def test_a_program_is_asked_when_its_credential_ends_or_is_refused(
    tmp_path: Path, until: str, second: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = [str(tmp_path / "program.py"), str(tmp_path / "calls"), until]
    program = {"command": sys.executable, "args": arguments, "env": [{"name": "PREFIX", "value": "t"}]}
    credentials = Credentials(load_access(kubeconfig(tmp_path / "config", {"exec": program}), NOWHERE))
    assert await credentials.authorization() == "Bearer t-1"
    assert await credentials.authorization() == f"Bearer {second}"
    credentials.refused()
    assert await credentials.authorization() != f"Bearer {second}"


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("no-such-program-here", [], "no-such-program-here"),
        (sys.executable, ["-c", "raise SystemExit(3)"], "ended with 3"),
        (sys.executable, ["-c", "print('hello')"], "printed no ExecCredential"),
    ],
)
async def test_a_program_that_gives_none(tmp_path: Path, command: str, arguments: list[str], words: str) -> None:
    user = {"exec": {"command": command, "args": arguments}}
    credentials = Credentials(load_access(kubeconfig(tmp_path / "config", user), NOWHERE))
    with pytest.raises(AccessError, match=words):
        await credentials.authorization()


async def test_certificates_are_loaded_anew_when_their_files_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("client", server=False)
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    where = kubeconfig(tmp_path / "config", user, **{"certificate-authority": "ca.crt"})
    credentials = Credentials(load_access(where, NOWHERE))
    context = await credentials.tls()
    assert context is not None and await credentials.tls() is context
    other = Authority(tmp_path / "other")
    (tmp_path / "ca.crt").write_text(other.certificate.read_text())
    assert await credentials.tls() is not context
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(AccessError, match="certificates cannot be used"):
        await credentials.tls()
