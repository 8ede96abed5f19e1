"""Options of `dynamo-fe mock-worker`: flag over variable over default, and what is refused."""

import json
from pathlib import Path

import pytest

from dynamo_fe.config import TABLE
from dynamo_fe.workers.faults import FaultKind
from dynamo_fe.workers.options import OptionError, parse_options


def test_defaults() -> None:
    options = parse_options([], {})
    assert (options.model_name, options.namespace, options.component, options.endpoint) == (
        "mock", "dynamo", "backend", "generate",
    )  # fmt: skip
    assert (options.discovery_backend, options.codec, options.fail_every) == ("etcd", "msgpack", 0)
    assert (options.model_path / "tokenizer.json").is_file()


def test_a_flag_wins_over_its_variable() -> None:
    environ = {"DYN_NAMESPACE": "from-variable", "DYN_ENGINE_REQUEST_LIMIT": "7"}
    assert parse_options([], environ).namespace == "from-variable"
    assert parse_options([], environ).max_concurrency == 7
    assert parse_options(["--namespace", "from-flag"], environ).namespace == "from-flag"


def test_variables_without_a_flag() -> None:
    environ = {"DYN_TCP_RPC_HOST": "127.0.0.1", "DYN_TCP_RPC_PORT": "4711", "ETCD_LEASE_TTL": "12"}
    options = parse_options([], environ)
    assert (options.rpc_host, options.rpc_port, options.etcd_lease_ttl_secs) == ("127.0.0.1", 4711, 12)


def test_the_worker_suffix_goes_on_the_namespace() -> None:
    assert parse_options([], {"DYN_NAMESPACE_WORKER_SUFFIX": "1a2b3c4d"}).namespace == "dynamo-1a2b3c4d"


def test_a_fault_by_its_name() -> None:
    options = parse_options(["--fail-every", "3", "--fail-kind", "no-callback"], {})
    assert (options.fail_every, options.fail_kind) == (3, FaultKind.NO_CALLBACK)


def test_a_script_is_read(tmp_path: Path) -> None:
    script = tmp_path / "say.json"
    script.write_text(json.dumps([{"token_ids": [1]}]))
    assert parse_options(["--say", str(script)], {}).say == [{"token_ids": [1]}]


def test_taints_are_named_once_and_in_order() -> None:
    assert parse_options(["--taints", "b, a,b"], {}).taints == ("a", "b")
    assert parse_options([], {}).taints == ()


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        (["--file-kv", "/dev/null"], {}, "--file-kv: /dev/null is no folder"),
        (["--nats-server", "http://x"], {}, "--nats-server: NATS server http://...: the scheme is"),
        ([], {"ETCD_ENDPOINTS": "http://"}, "ETCD_ENDPOINTS: etcd endpoint 'http://' names no host"),
        ([], {"DYN_LOG": "loud"}, "DYN_LOG: must be off, error, warn, info, debug, trace, or such as"),
        (["--no-such-flag"], {}, "--no-such-flag"),
        (["--fail-kind", "explode"], {}, "--fail-kind"),
        (["--taints", "a,,b"], {}, "--taints: 'a,,b' holds an empty name"),
        (["--taints", "dynamo.topology/zone=west"], {}, "--taints: taint 'dynamo.topology/zone=west' uses"),
        (["--queue-limit", "-1"], {}, "--queue-limit"),
        (["--discovery-backend", "mem"], {}, "--discovery-backend"),
        (["--namespace", "a.b"], {}, "--namespace"),
        (["--model-path", "/nowhere"], {}, "tokenizer.json"),
        (["--say", "/nowhere.json"], {}, "--say"),
        ([], {"DYN_TCP_RPC_PORT": "65536"}, "DYN_TCP_RPC_PORT"),
        ([], {"DYN_DISCOVERY_BACKEND": "consul"}, "DYN_DISCOVERY_BACKEND"),
    ],
)
def test_refusals_name_what_is_wrong(argv: list[str], environ: dict[str, str], named: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_options(argv, environ)
    assert named.removeprefix("tokenizer.json") in str(refused.value)
    assert refused.value.exit_code == (2 if argv else 78)


def test_blocks_are_of_any_size_that_the_frontend_may_be_told() -> None:
    (block_size,) = (setting for setting in TABLE if setting.name == "kv_cache_block_size")
    for size in (block_size.low, block_size.high):
        assert parse_options(["--kv-block-size", f"{size:.0f}"], {}).kv_block_size == size
    with pytest.raises(OptionError, match="4294967296 is not between 1 and 4294967295$"):
        parse_options(["--kv-block-size", "4294967296"], {})
    with pytest.raises(OptionError, match="0 is not at least 1$"):
        parse_options(["--total-kv-blocks", "0"], {})
