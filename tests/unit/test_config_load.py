import pickle
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from dynamo_fe.config import TABLE, ConfigError, Settings, load

FIXTURES = Path(__file__).parent.parent / "fixtures"
FLAGS = (FIXTURES / "dynamo_frontend_flags.txt").read_text().split()
DEFAULTS = [line.split("\t") for line in (FIXTURES / "dynamo_frontend_defaults.tsv").read_text().splitlines()]

# Differences from the original that are ours on purpose.
OUR_DEFAULTS = {"DYN_MIGRATION_LIMIT": "3", "DYN_TOKENIZER": "auto", "DYN_METRICS_PREFIX": "dynamo_frontend"}


def refusal(argv: list[str], environ: dict[str, str] | None = None) -> tuple[int, str]:
    with pytest.raises(ConfigError) as error:
        load(argv, environ or {})
    assert "\n" not in str(error.value)
    return error.value.exit_code, str(error.value)


def operand(flag: str) -> list[str]:
    """A word the flag takes, or none for a switch."""
    for setting in TABLE:
        if flag in setting.flags and setting.kind != "switch":
            return [str(setting.default or (*setting.choices, "1")[0])]
    return []


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_of_the_original_is_known(flag: str) -> None:
    try:
        loaded = load([flag, *operand(flag)], {})
    except ConfigError as error:
        assert "tls" in flag
        assert "-key-path" in str(error)
    else:
        assert flag in loaded.origins.values()


@pytest.mark.parametrize(("flag", "variable", "default"), DEFAULTS)
def test_variables_and_defaults_are_the_originals(flag: str, variable: str, default: str) -> None:
    (setting,) = [each for each in TABLE if flag in each.flags]
    assert setting.variable == variable
    ours = "[]" if setting.default == () else str(setting.default)
    assert ours == OUR_DEFAULTS.get(variable, default)


def test_flag_over_variable_over_default_and_the_origins_say_so() -> None:
    loaded = load(["--http-port=9000"], {"DYN_HTTP_PORT": "9001", "DYN_HTTP_HOST": "::1"})
    assert (loaded.settings.http_port, loaded.settings.http_host) == (9000, "::1")
    origins = [loaded.origins[name] for name in ("http_port", "http_host", "namespace")]
    assert origins == ["--http-port", "DYN_HTTP_HOST", "default"]
    assert loaded.warnings == []


def test_the_last_of_a_repeated_flag_counts() -> None:
    assert load(["--workers", "2", "--workers", "3"], {}).settings.workers == 3


def test_a_list_is_repeated_as_flag_and_spaced_as_variable() -> None:
    flag = "--frontend-route-extension"
    assert load([flag, "a:b", flag, "c"], {}).settings.frontend_route_extensions == ("a:b", "c")
    by_variable = load([], {"DYN_FRONTEND_ROUTE_EXTENSIONS": " a:b  c "})
    assert by_variable.settings.frontend_route_extensions == ("a:b", "c")


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "TRUE", "On"])
def test_words_for_yes(word: str) -> None:
    assert load([], {"DYN_LOGGING_JSONL": word}).settings.log_jsonl is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off"])
def test_words_for_no(word: str) -> None:
    assert load([], {"DYN_FE_ENFORCE_CONTEXT_LENGTH": word}).settings.enforce_context_length is False


def test_another_word_is_no_and_is_told() -> None:
    loaded = load([], {"DYN_FE_ENFORCE_CONTEXT_LENGTH": "maybe"})
    assert loaded.settings.enforce_context_length is False
    assert len(loaded.warnings) == 1
    assert "DYN_FE_ENFORCE_CONTEXT_LENGTH='maybe'" in loaded.warnings[0]


def test_a_switch_flag_and_its_opposite() -> None:
    assert load(["--no-exclude-tools-when-tool-choice-none"], {}).settings.exclude_tools_when_tool_choice_none is False
    both = load(["--no-kv-events", "--router-kv-events"], {})
    assert both.settings.router_kv_events is True


@pytest.mark.parametrize("word", ["abc", "-1", "1.5"])
def test_a_window_that_is_no_size_is_ignored_and_told(word: str) -> None:
    loaded = load([], {"DYN_GRPC_INITIAL_STREAM_WINDOW_SIZE": word})
    assert loaded.settings.grpc_stream_window_bytes is None
    assert [warning for warning in loaded.warnings if "DYN_GRPC_INITIAL_STREAM_WINDOW_SIZE" in warning]


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load([], {"DYN_HTTP_PORT": "", "DYN_NAMESPACE": ""}).settings == Settings()


@pytest.mark.parametrize("spelling", ["round_robin", "round-robin"])
def test_both_spellings_of_a_choice(spelling: str) -> None:
    assert load(["--router-mode", spelling], {}).settings.router_mode == "round-robin"
    assert load([], {"DYN_REASONING_FIELD_NAME": "reasoning-content"}).settings == Settings()


def test_none_turns_an_optional_number_off() -> None:
    flag = "--active-decode-blocks-threshold"
    assert load([flag, "None"], {"DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD": "0.5"}).settings == Settings()


def test_a_negative_number_is_a_value_and_a_flag_is_not() -> None:
    assert refusal(["--http-port", "-1"]) == (1, "--http-port must be between 0 and 65535, got -1")
    assert refusal(["--http-port", "--workers"]) == (2, "argument --http-port: expected one argument")


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        (["--nope"], 1, "Unknown arguments specified: ['--nope']"),
        (["one", "two"], 1, "Unknown arguments specified: ['one', 'two']"),
        (["--http-prot", "1"], 1, "Unknown arguments specified: ['--http-prot', '1'] (did you mean --http-port?)"),
        (["--http-port"], 2, "argument --http-port: expected one argument"),
        (["--http-port", "abc"], 2, "argument --http-port: invalid int value: 'abc'"),
        (["--router-ttl-secs", "x"], 2, "argument --router-ttl-secs: invalid float value: 'x'"),
        (["--namespac", "x"], 2, "ambiguous option: --namespac could match --namespace, --namespace-prefix"),
        (["--tokenizer", "x"], 2,
         "argument --tokenizer: invalid choice: 'x' (choose from 'auto', 'default', 'fastokens', 'basetenkenizer')"),
        (["--migration-limit", "-1"], 1, "--migration-limit must be between 0 and 4294967295, got -1"),
        (["--migration-max-seq-len", "0"], 1, "--migration-max-seq-len must be between 1 and 4294967295, got 0"),
        (["--active-prefill-tokens-threshold", "-1"], 1, "--active-prefill-tokens-threshold must be >= 0, got -1"),
        (["--router-temperature", "nan"], 1, "--router-temperature must be finite, got nan"),
        (["--tls-cert-path", "c"], 1, "--tls-cert-path and --tls-key-path must be provided together"),
        (["--tls-client-ca-cert-path", "c"], 1,
         "--tls-client-ca-cert-path requires --tls-cert-path and --tls-key-path"),
        (["--tcp-tls-key-path", "k"], 1, "--tcp-tls-cert-path and --tcp-tls-key-path must be provided together"),
        (["--tcp-tls-client-ca-cert-path", "c"], 1,
         "--tcp-tls-client-ca-cert-path requires --tcp-tls-cert-path and --tcp-tls-key-path"),
        (["--nats-tls-client-cert-path", "c"], 1,
         "--nats-tls-client-cert-path and --nats-tls-client-key-path must be provided together"),
    ],
)  # fmt: skip
def test_refusals_of_flags_have_the_originals_exit_code(argv: list[str], exit_code: int, message: str) -> None:
    assert refusal(argv) == (exit_code, message)


def test_refusals_of_variables_name_the_variable() -> None:
    assert refusal([], {"DYN_HTTP_PORT": "abc"}) == (78, "argument DYN_HTTP_PORT: invalid int value: 'abc'")
    assert refusal([], {"DYN_FE_WORKERS": "0"}) == (78, "DYN_FE_WORKERS must be between 1 and 256, got 0")
    assert refusal([], {"DYN_ROUTER_MODE": "abc"})[0] == 78
    assert refusal([], {"DYN_TLS_CERT_PATH": "c"}) == (
        78, "DYN_TLS_CERT_PATH: --tls-cert-path and --tls-key-path must be provided together"
    )  # fmt: skip


def test_the_beginning_of_a_flag_is_enough_when_only_one_begins_so() -> None:
    assert load(["--http-po", "9"], {}).settings.http_port == 9


@pytest.mark.parametrize(
    ("argv", "environ", "named", "code"),
    [
        (["--response-plane=quic"], {}, "--response-plane: quic", 1),
        ([], {"DYN_REQUEST_PLANE": "quic"}, "DYN_REQUEST_PLANE: quic", 78),
    ],
)
def test_what_cannot_be_served_truthfully_ends_the_start(
    argv: list[str], environ: dict[str, str], named: str, code: int
) -> None:
    exit_code, message = refusal(argv, environ)
    assert exit_code == code
    assert message.startswith(named)
    assert "not available in this version: use " in message
    assert "quic" not in message.partition("use ")[2]


def test_a_choice_to_come_is_served_by_another_and_told() -> None:
    loaded = load(["--tokenizer", "basetenkenizer"], {})
    assert loaded.settings.tokenizer == "default"
    assert loaded.warnings == ["--tokenizer basetenkenizer is not available in this version: using default"]


@pytest.mark.parametrize(
    ("environ", "warned"),
    [
        ({"DYN_TCP_TLS_CA_CERT_PATH": "c"}, "workers answer in plain text"),
        ({"DYN_TCP_TLS_CERT_PATH": "c", "DYN_TCP_TLS_KEY_PATH": "k"}, "requests go to workers in plain text"),
        ({"DYN_TCP_TLS_CERT_PATH": "c", "DYN_TCP_TLS_KEY_PATH": "k", "DYN_TCP_TLS_INSECURE": "1"}, None),
        ({"DYN_TCP_TLS_CERT_PATH": "c", "DYN_TCP_TLS_KEY_PATH": "k", "DYN_REQUEST_PLANE": "nats"}, None),
    ],
)
def test_tls_of_one_direction_alone_is_told(environ: dict[str, str], warned: str | None) -> None:
    warnings = load([], environ).warnings
    assert [line.partition(":")[0] for line in warnings] == ([warned] if warned else [])


def test_settings_without_effect_are_named_in_one_line() -> None:
    loaded = load(["--enable-anthropic-api", "--router-event-threads", "2"], {"DYN_SERVE_INDEXER": "true"})
    assert len(loaded.warnings) == 1
    for named in ("--enable-anthropic-api", "--router-event-threads", "DYN_SERVE_INDEXER"):
        assert named in loaded.warnings[0]


def test_a_setting_without_effect_that_stays_at_its_default_is_not_named() -> None:
    assert load(["--router-event-threads", "4", "--no-enable-anthropic-api"], {}).warnings == []


def test_what_the_original_ignores_is_named_as_ignored() -> None:
    assert load(["--enforce-disagg"], {}).warnings == ["deprecated and ignored: --enforce-disagg"]


def test_settings_are_frozen_picklable_and_keep_secrets_to_themselves() -> None:
    settings = load([], {"ETCD_AUTH_PASSWORD": "hush", "ETCD_AUTH_USERNAME": "root"}).settings
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert "hush" not in repr(settings)
    assert "root" in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.http_port = 1  # type: ignore[misc]


def test_the_table_is_sound() -> None:
    assert [each.name for each in TABLE] and {each.name for each in TABLE} == {each.name for each in fields(Settings)}
    flags = [flag for each in TABLE for flag in each.flags]
    variables = [each.variable for each in TABLE if each.variable]
    assert len(flags) == len(set(flags))
    assert len(variables) == len(set(variables))
    assert all(each.flags or each.variable for each in TABLE)
    assert all(each.help.endswith(".") for each in TABLE)
    for each in TABLE:
        if each.kind == "choice" and each.default is not None:
            assert each.default in each.choices
        assert set(each.stand_ins or {}) | set(each.refused_choices) <= set(each.choices)


def test_kserve_has_no_route_extensions() -> None:
    code, text = refusal(["--kserve-grpc-server", "--frontend-route-extension", "a:b"])
    assert (code, text) == (1, "--frontend-route-extension cannot be used together with --kserve-grpc-server")


@pytest.mark.parametrize(
    ("argv", "grpc_only"),
    [([], False), (["--kserve-grpc-server"], True), (["--kserve-grpc-server", "--grpc-port", "1"], False)],
)
def test_a_grpc_port_leaves_the_http_port_to_http(argv: list[str], grpc_only: bool) -> None:
    assert load(argv, {}).settings.grpc_only is grpc_only


def test_a_variable_that_only_we_could_have_meant_is_named() -> None:
    environ = {"DYN_FE_WORKRES": "2", "DYN_FE_HTTP_PORT": "80", "DYN_FE_ZZZ": "", "DYN_X": "1", "DYN_FE_WORKERS": "3"}
    loaded = load([], environ)
    assert loaded.warnings == [
        "no setting, and without effect: DYN_FE_HTTP_PORT (did you mean DYN_HTTP_PORT?), "
        "DYN_FE_WORKRES (did you mean DYN_FE_WORKERS?), DYN_FE_ZZZ"
    ]
    assert load([], {"DYN_FE_WORKERS": "3"}).warnings == []
