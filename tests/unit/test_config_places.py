"""What settings name is looked at before anything starts: one line with file, line and key, or flag, or variable."""

from pathlib import Path

import pytest

from dynamo_fe.cli.places import check_pod
from dynamo_fe.cli.preflight import blaming, configuration
from dynamo_fe.config import ConfigError


def refusal(home: Path, content: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    file = home / "dynamo-fe.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as error:
        blaming(configuration(["--config", str(file)], environ or {}), check_pod)
    assert "\n" not in str(error.value)
    return error.value.exit_code, str(error.value).replace(str(file), "FILE")


NATS = 'request_plane = "nats"\n'
EVENTS_BY_NATS = 'router_mode = "kv"\nevent_plane = "nats"\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("etcd_endpoints = 'http://'", "FILE:1: etcd_endpoints: etcd endpoint 'http://' names no host"),
        ("etcd_endpoints = 'http://:2379'", "FILE:1: etcd_endpoints: etcd endpoint 'http://:2379' names no host"),
        ("etcd_endpoints = 'a,b:0'",
         "FILE:1: etcd_endpoints: etcd endpoint 'b:0': the port must be between 1 and 65535"),
        ("etcd_endpoints = 'b:x'", "FILE:1: etcd_endpoints: etcd endpoint 'b:x': the port must be between 1 and 65535"),
        ("etcd_endpoints = 'ftp://x'",
         "FILE:1: etcd_endpoints: etcd endpoint 'ftp://x': the scheme is neither http nor https"),
        ("etcd_auth_ca = '/ca.pem'",
         "FILE:1: etcd_auth_ca: ETCD_AUTH_CA must hold the PEM text itself, not a file name"),
        ("discovery_backend = 'kubernetes'", "FILE:1: discovery_backend: kubernetes discovery needs POD_NAME"),
        (f"{NATS}nats_server = 'http://x'",
         "FILE:2: nats_server: NATS server http://...: the scheme is neither nats nor tls"),
        (f"{EVENTS_BY_NATS}nats_server = 'x:99999'",
         "FILE:3: nats_server: NATS server: a URL without host, or with a port that is none"),
        (f"{NATS}nats_auth_nkey = 'x'", "FILE:2: nats_auth_nkey: NATS_AUTH_NKEY holds no NKey seed"),
        (f"{NATS}nats_auth_credentials_file = '/none'",
         "FILE:2: nats_auth_credentials_file: NATS credentials file /none: No such file or directory"),
        (f"{EVENTS_BY_NATS}nats_tls_ca_cert_path = '/none'",
         "FILE:3: nats_tls_ca_cert_path: CA certificate /none: No such file or directory"),
        ("model_path = '/none'", "FILE:1: model_path: /none is no folder; it must hold a model's files"),
        ("model_path = '/dev/null'", "FILE:1: model_path: /dev/null is no folder; it must hold a model's files"),
        ("model_path = '/proc/self/fdinfo'",
         "FILE:1: model_path: /proc/self/fdinfo has no config.json; it must hold a model's files"),
        ("cache_dir = '/dev/null/x'", "FILE:1: cache_dir: /dev/null/x must be a folder, but /dev/null is none"),
        ("discovery_backend = 'file'\nfile_kv = '/dev/null'",
         "FILE:2: file_kv: /dev/null must be a folder, but /dev/null is none"),
        ("router_policy_config = '/none.yaml'", "FILE:1: router_policy_config: --router-policy-config "
         "/none.yaml: cannot be read: No such file or directory"),
        ("tcp_response_stream_host = '0.0.0.0'",
         "FILE:1: tcp_response_stream_host: call-back host 0.0.0.0 names no address that others could connect to"),
        ("tcp_response_stream_port = 7000\nhttp_port = 7001",
         "FILE:1: tcp_response_stream_port: the serving processes take the ports from 7000 to 7002, --http-port must"),
        ("http_port = 7000\ngrpc_port = 7000",
         "FILE:1: http_port: --http-port and --grpc-port must not be one port, got 7000"),
        ("kserve_grpc_server = true\nhttp_port = 8788",
         "FILE:2: http_port: --http-port and --grpc-metrics-port must not be one port, got 8788"),
        ("workers = 2\ntcp_response_stream_port = 65533",
         "FILE:2: tcp_response_stream_port: must be at most 65530: the serving processes take it and those behind"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(content: str, said: str, tmp_path: Path) -> None:
    code, text = refusal(tmp_path, content)
    assert code == 78 and text.startswith(said), text


def test_an_interface_that_is_not_there_may_come() -> None:
    with pytest.raises(ConfigError, match="DYN_TCP_RESPONSE_STREAM_HOST: call-back host none0 is neither") as error:
        configuration([], {"DYN_TCP_RESPONSE_STREAM_HOST": "none0"})
    assert error.value.exit_code == 1


def test_what_is_not_used_is_not_looked_at() -> None:
    environ = {"ETCD_ENDPOINTS": "ftp://x", "NATS_SERVER": "http://x", "DYN_FILE_KV": "/dev/null"}
    assert configuration(["--discovery-backend", "mem"], environ).settings.nats_server == "http://x"


def test_the_policy_file_is_to_blame_for_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("router: {router_tracking_hash: keyed-xxh3-v1}\n")
    code, text = refusal(tmp_path, f"router_mode = 'kv'\nrouter_policy_config = '{tmp_path}/policy.yaml'")
    assert code == 78
    assert text.startswith(f"FILE:2: router_policy_config: {tmp_path}/policy.yaml: --router-tracking-hash keyed")
