import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamo_fe.config import TABLE, ConfigError, load
from dynamo_fe.config.errors import BAD_CONFIGURATION, UNREADABLE_FILE
from dynamo_fe.config.values import to_toml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dynamo-fe.toml"


def refusal(file: Path, **environ: str) -> tuple[int, str]:
    with pytest.raises(ConfigError) as error:
        load(["--config", str(file)], environ)
    assert "\n" not in str(error.value)
    return error.value.exit_code, str(error.value).replace(str(file), "FILE")


def test_flag_over_variable_over_file_over_default(file: Path) -> None:
    file.write_text('# ports\nhttp_port = 1\nworkers = 3\nhttp_host = "::1"\n')
    loaded = load(["--http-port", "2"], {"DYN_FE_CONFIG": str(file), "DYN_FE_WORKERS": "4"})
    assert (loaded.settings.http_port, loaded.settings.workers, loaded.settings.http_host) == (2, 4, "::1")
    origins = [loaded.origins[name] for name in ("http_port", "workers", "http_host", "mock_workers")]
    assert origins == ["--http-port", "DYN_FE_WORKERS", f"{file}:4", "default"]


def test_keys_are_written_as_flags_or_as_they_are_printed(file: Path) -> None:
    file.write_text('tls-cert-path = "a"\ntls_key_path = "b"\nmax_requests = 5\n')
    settings = load(["--config", str(file)], {}).settings
    assert (settings.tls_cert_path, settings.tls_key_path, settings.max_requests) == ("a", "b", 5)


def test_every_printed_setting_can_be_read_back(file: Path) -> None:
    lines = [f"{each.name} = {to_toml(each.default)}" for each in TABLE if each.default is not None]
    file.write_text("\n".join(lines))
    assert load(["--config", str(file)], {}).settings == load([], {"DYN_FE_CONFIG": str(file)}).settings


@pytest.mark.parametrize("text", ["", 'with "quotes" and \\', "two\nlines", "tab\t", "ü\u2028"])
def test_any_text_can_be_written(text: str, file: Path) -> None:
    file.write_text(f"model_name = {to_toml(text)}", encoding="utf-8")
    assert load(["--config", str(file)], {}).settings.model_name == (text or None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("workers = 1\nhttp_prot = 80\n", "FILE:2: unknown key http_prot (did you mean http_port?)"),
        ("HTTP_PORT = 3\n", "FILE:1: unknown key HTTP_PORT (did you mean http_port?)"),
        ("DYN_LOG = 'info'\n", "FILE:1: unknown key DYN_LOG (did you mean log_level?)"),
        ("\nzzzzzz = 80\n", "FILE:2: unknown key zzzzzz"),
        ('"\\nFAKE 2026 info ok" = 1\n', r"FILE:1: unknown key '\nFAKE 2026 info ok'"),
        ('workers = 1\n"\\u001b[31mhi" = 1\n', r"FILE:1: unknown key '\x1b[31mhi'"),
        ('"\u202ehi" = 1\n', r"FILE:1: unknown key '\u202ehi'"),
        ('["\u202ehi"]\n', r"FILE:1: '\u202ehi' is a table; settings stand at the top, each on a line of its own"),
        (f"{'a' * 5000} = 1\n", f"FILE:1: unknown key {'a' * 80}..."),
        ("config = 'x'\n", "FILE:1: unknown key config"),
        ("http_port = 99999\n", "FILE:1: http_port must be between 0 and 65535, got 99999"),
        ("http-port = '80'\n", "FILE:1: http-port (the key is http_port) must be a whole number, got \"80\""),
        ("workers = true\n", "FILE:1: workers must be a whole number, got true"),
        ("drain_timeout_secs = 'x'\n", "FILE:1: drain_timeout_secs must be a number, got \"x\""),
        ("log_jsonl = 1\n", "FILE:1: log_jsonl must be true or false, got 1"),
        ("cors_allow_origin = '*'\n", "FILE:1: cors_allow_origin must be a list of texts, got \"*\""),
        ("model_name = 3\n", "FILE:1: model_name must be a text in quotes, got 3"),
        ("http_port = 1\nhttp_port = 2\n", "FILE:2: not TOML: Cannot overwrite a value: http_port was set before"),
        ("http_port = 1\nhttp_port = 2", "FILE:2: not TOML: Cannot overwrite a value: http_port was set before"),
        ("http_port = {a = 1}\n", "FILE:1: http_port must be a whole number, got a table"),
        ("\n[http_port]\na = 1\n", "FILE:2: http_port must be a whole number, got a table"),
        ("http_port = 2020-01-01\n", "FILE:1: http_port must be a whole number, got 2020-01-01"),
        ("cors_allow_origin = [1]\n", "FILE:1: cors_allow_origin must be a list of texts, got a list of other things"),
        ("[http]\nport = 3\n", "FILE:1: http is a table; settings stand at the top, each on a line of its own"),
        ("workers = 1\nhttp_port =\n", "FILE:2: not TOML: Invalid value"),
        ("workers = 1\nhttp_port =", "FILE:2: not TOML: Invalid value"),
        ("http_port = 1\nhttp-port = 2\n", "FILE:2: http-port was set before, in FILE:1"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_key(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    assert refusal(file) == (BAD_CONFIGURATION, message)


def test_a_choice_names_what_is_allowed(file: Path) -> None:
    file.write_text("discovery_backend = 'zookeeper'\n")
    code, text = refusal(file)
    assert code == BAD_CONFIGURATION
    assert text.startswith("FILE:1: discovery_backend: invalid choice: 'zookeeper' (choose from 'kubernetes', 'etcd'")


def test_a_file_that_is_not_there(file: Path) -> None:
    assert refusal(file) == (UNREADABLE_FILE, "cannot read FILE: No such file or directory")


def test_a_file_from_another_system_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfhttp_port = 7\r\nworkers = 2\r\n")
    loaded = load(["--config", str(file)], {})
    assert (loaded.settings.http_port, loaded.origins["workers"]) == (7, f"{file}:2")


def test_what_has_no_end_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="^/dev/zero: it has more than 4194304 bytes$"):
        load(["--config", "/dev/zero"], {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (UNREADABLE_FILE, "cannot read FILE: Is a directory")


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert refusal(file) == (BAD_CONFIGURATION, "FILE: not TOML: it is not UTF-8")


def test_a_credential_is_a_path_or_where_the_setting_is_secret_its_content(tmp_path: Path, file: Path) -> None:
    (tmp_path / "dynamo-fe_tls.key").write_text("KEY")
    (tmp_path / "nats").write_text("hunter2\n")
    file.write_text('tls_key_path = "credential:tls.key"\ntls_cert_path = "/cert"\n')
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "NATS_AUTH_PASSWORD": "credential:nats"}
    settings = load(["--config", str(file)], environ).settings
    assert settings.tls_key_path == str(tmp_path / "dynamo-fe_tls.key")
    assert settings.nats_auth_password == "hunter2"


@pytest.mark.parametrize("name", ["other", "../nats", ""])
def test_a_credential_that_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "creds").mkdir()
    (tmp_path / "nats").write_text("x")
    (tmp_path / "creds" / "dynamo-fe_known").write_text("x")
    with pytest.raises(ConfigError, match=rf"NATS_AUTH_TOKEN: there is no credential {name}; there is: known") as error:
        load([], {"CREDENTIALS_DIRECTORY": str(tmp_path / "creds"), "NATS_AUTH_TOKEN": f"credential:{name}"})
    assert error.value.exit_code == UNREADABLE_FILE


def test_a_credential_without_a_service_manager() -> None:
    hint = "no credentials were passed .*CREDENTIALS_DIRECTORY=/etc/dynamo-fe/credentials dynamo-fe check-config"
    with pytest.raises(ConfigError, match=hint):
        load([], {"NATS_AUTH_TOKEN": "credential:x"})


@pytest.mark.parametrize("content", ["workers = " + "9" * 5000, "workers = " + "[" * 5000])
def test_what_no_reader_takes_is_one_line(content: str, file: Path) -> None:
    file.write_text(content)
    code, text = refusal(file)
    assert code == BAD_CONFIGURATION and text.startswith("FILE: not TOML that can be read: "), text


LONG = ".".join(["a"] * 17)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"{LONG} = 1", 1),
        (f"workers = 1\n[{LONG}]", 2),
        (f"\n\n[[ {LONG} ]]", 3),
        (".".join(['"a.b"', "'c'", "d"] * 6) + " = 1", 1),
        ("a\t.\t" * 16 + "a = 1", 1),
        (f"x = {{ b = 1, {LONG} = 1 }}", 1),
        (f'x = """{LONG}\n"""\n{LONG} = 1', 3),
    ],
)
def test_a_key_of_many_parts_is_refused_before_it_is_parsed(
    content: str, line: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("tomllib.loads")
    file.write_text(content)
    assert refusal(file) == (BAD_CONFIGURATION, f"FILE:{line}: a key of more than 16 parts")


@pytest.mark.parametrize(
    "content",
    [
        f'model_name = "{LONG}"',
        f"model_name = '{LONG}'",
        f'model_name = """{LONG}"""',
        f"model_name = '''{LONG}'''",
        f'model_name = """\n\\""" {LONG}"""',
        f'model_name = "\\"{LONG}"',
        f'model_name = "x" # {LONG}',
    ],
)
def test_what_only_looks_like_a_key_is_taken(content: str, file: Path) -> None:
    file.write_text(content)
    assert load(["--config", str(file)], {}).settings.model_name


def test_more_than_any_configuration_needs_is_refused(file: Path) -> None:
    file.write_text("#" * (1 << 20) + "\n")
    assert refusal(file) == (BAD_CONFIGURATION, "FILE: it has more than 1048576 characters")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_credential_that_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "token")
    with pytest.raises(ConfigError, match="^NATS_AUTH_TOKEN: credential token is no regular file$") as error:
        load([], {"CREDENTIALS_DIRECTORY": str(tmp_path), "NATS_AUTH_TOKEN": "credential:token"})
    assert error.value.exit_code == UNREADABLE_FILE
