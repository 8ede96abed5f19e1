"""URLs as people see them: nothing of a login, whatever it holds."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynamo_fe.cli.frontend_url import frontend_url
from dynamo_fe.config.logins import without_logins
from dynamo_fe.discovery.etcd_options import Endpoint, parse_endpoints
from dynamo_fe.planes.nats_login import check_servers

# a comma with a scheme behind it begins the next URL
WORDS = st.text(min_size=1).filter(lambda word: not re.search(r",\s*[a-z][a-z0-9+.-]*://", word, re.IGNORECASE))


@given(WORDS, WORDS, st.sampled_from(["nats://", "http://", ""]))
@example("user", "pa/ss", "nats://")
@example("user", "p@a?s#s,w:1", "nats://")
@example("user", "a://b", "")
def test_nothing_of_a_login_is_shown(user: str, password: str, scheme: str) -> None:
    shown = without_logins(f"{scheme}{user}:{password}@10.0.0.1:4222", urls=True)
    assert shown == (f"{scheme}<REDACTED>@10.0.0.1:4222")


@given(WORDS)
def test_nothing_of_a_token_is_shown(token: str) -> None:
    assert without_logins(f"nats://{token}@host") == "nats://<REDACTED>@host"
    assert without_logins(f"{token}@host", urls=True) == "<REDACTED>@host"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://a:1,tls://u:p@b:2, nats://c:3", "nats://a:1,tls://<REDACTED>@b:2, nats://c:3"),
        ("nats://u:p@a:1,nats://t@[::1]:2", "nats://<REDACTED>@a:1,nats://<REDACTED>@[::1]:2"),
        ("nats://user:a,http://b@c", "nats://<REDACTED>,http://<REDACTED>@c"),
        ("http://a:2379,u:p@b:2379", "http://<REDACTED>@b:2379"),
        ("--nats-server=nats://u:p/q@a", "--nats-server=nats://<REDACTED>@a"),
        ("--nats-server=u:p/q@a", "--nats-server=<REDACTED>@a"),
    ],
)
def test_what_is_no_login_is_shown(text: str, shown: str) -> None:
    assert without_logins(text) == shown


@pytest.mark.parametrize("text", ["", "org/model@rev", "http://a:2379,b", "file:///a/b", "::1", "{'a': 1}"])
def test_a_text_without_a_login_is_as_it_was(text: str) -> None:
    assert without_logins(text) == text


BREAKING = ["12/3secret", "p?secret", "p#secret", "p/s@secret", "secret://x"]


@pytest.mark.parametrize("password", BREAKING)
@pytest.mark.parametrize("scheme", ["nats://", "ftp://", ""])
def test_a_nats_server_is_refused_without_its_login(password: str, scheme: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_servers([f"{scheme}root:{password}@10.0.0.1:4222"])
    assert "secret" not in str(refused.value) and "root" not in str(refused.value)


def test_a_nats_login_that_breaks_the_url_is_told_its_place() -> None:
    with pytest.raises(ValueError, match="stands in NATS_AUTH_USERNAME and NATS_AUTH_PASSWORD"):
        check_servers(["nats://root:12/3secret@10.0.0.1:4222"])


@pytest.mark.parametrize("password", ["12/3secret", "p/s@secret", "secret,x"])
@pytest.mark.parametrize("scheme", ["http://", "ftp://", ""])
def test_an_etcd_endpoint_is_refused_without_its_login(password: str, scheme: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_endpoints(f"{scheme}root:{password}@10.0.0.1:2379", False)
    assert "secret" not in str(refused.value) and "root" not in str(refused.value)


def test_a_login_of_an_etcd_endpoint_is_not_part_of_its_address() -> None:
    assert parse_endpoints("http://root:p@ss@10.0.0.1", False) == (Endpoint("10.0.0.1:2379", False),)


@pytest.mark.parametrize("password", ["secret", *BREAKING])
def test_a_frontend_is_asked_without_a_login(password: str) -> None:
    with pytest.raises(ValueError) as refused:
        frontend_url(f"http://root:{password}@10.0.0.1:8000")
    assert str(refused.value) == "--url http://<REDACTED>@10.0.0.1:8000: no frontend asks for a login"
