"""The options of `dynamo-fe mock-worker`: flag, then variable, then default."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import msgspec

from dynamo_fe.config.errors import BAD_CONFIGURATION, USAGE_ERROR
from dynamo_fe.config.forms import LOG_FILTER
from dynamo_fe.discovery.etcd_options import parse_endpoints
from dynamo_fe.planes.nats_login import check_servers
from dynamo_fe.workers.faults import FaultKind
from dynamo_fe.workers.passages import MODEL_DIR

_SAY: Final = (
    "JSON file with a list to play for every request, one entry a decode step: an item as engines send it "
    '({"token_ids":[],"text":"words"}, last {"token_ids":[],"finish_reason":"stop"}), {"!sleep":SECONDS} or '
    '{"!error":ERROR}'
)
# frontends make taints of this form from the topology domains of a card
_TOPOLOGY: Final = "dynamo.topology/"


class MockOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a mock worker is told. The names shared with the frontend's settings mean the same there."""

    model_name: str
    model_path: Path
    tool_call_parser: str | None
    reasoning_parser: str | None
    namespace: str
    component: str
    endpoint: str
    codec: Literal["msgpack", "json"]
    # pace
    prefill_tokens_per_sec: float  # of one stream; 0 = at once
    decode_tokens_per_sec: float  # of one stream; 0 = as fast as it goes
    speedup_ratio: float  # on both; 0 = no simulated delay
    tokens_per_item: int
    answer_tokens: int  # of an answer that nothing cuts short
    seed: int
    say: list[Any] | None  # entries to play instead of answers
    # capacity
    max_concurrency: int
    queue_limit: int
    kv_block_size: int  # tokens
    total_kv_blocks: int  # of each rank
    data_parallel_size: int  # ranks
    context_length: int | None  # tokens; None = as the model's config says
    taints: tuple[str, ...]  # what requests may require or prefer of a worker
    max_request_bytes: int
    # events
    kv_events: bool
    event_plane: Literal["zmq", "nats"]
    nats_server: str
    # faults
    fail_every: int
    fail_kind: FaultKind
    stall_secs: float
    # process
    drain_secs: float
    rpc_host: str  # address or interface; empty = a local address that is not the loopback
    rpc_port: int
    log_level: str
    log_jsonl: bool
    # membership
    discovery_backend: Literal["etcd", "file", "kubernetes"]
    file_kv: str | None
    etcd_endpoints: str
    etcd_auth_username: str | None
    etcd_auth_password: str | None
    etcd_auth_ca: str | None
    etcd_auth_client_cert: str | None
    etcd_auth_client_key: str | None
    etcd_lease_ttl_secs: int
    etcd_startup_timeout_secs: float
    kube_silence_secs: float
    kube_assume_ready: bool


class OptionError(Exception):
    """The command line or a variable cannot be used; the text says which and why, `exit_code` what the process ends
    with.
    """

    def __init__(self, message: str, exit_code: int = USAGE_ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def flags() -> list[tuple[str, str, str]]:
    """Each flag with the word for its value and its help, for whoever documents them."""
    return _table({}).flags()


def parse_options(argv: Sequence[str], environ: Mapping[str, str]) -> MockOptions:
    """Reads flags and variables. Raises `OptionError`; `--help` raises `SystemExit` as argparse does."""
    values = _table(environ).parse(argv)
    suffix = environ.get("DYN_NAMESPACE_WORKER_SUFFIX")
    if suffix:
        values["namespace"] = f"{values['namespace']}-{suffix}"
    for name in ("namespace", "component", "endpoint"):
        if not values[name] or "." in values[name] or "/" in values[name]:
            raise OptionError(f"--{name}: {values[name]!r} must not be empty nor contain a dot or a slash")
    return MockOptions(**values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


class _Table:
    """argparse with a variable behind each flag, held to the same type, choices and range."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._parser = _Parser(
            prog="dynamo-fe mock-worker",
            description="A worker on the real wire that needs no GPU: it answers with passages of a built-in text.",
            allow_abbrev=False,
        )
        self._group: Any = self._parser
        self._variables: dict[str, tuple[str, Callable[[str], Any]]] = {}
        self._from_variables_only: dict[str, Any] = {}

    def group(self, title: str) -> None:
        self._group = self._parser.add_argument_group(title)

    def add(
        self, flag: str, kind: Callable[[str], Any], default: Any, text: str, variable: str = "", **more: Any
    ) -> None:
        """`flag`: its spellings, with a blank between."""
        action = self._group.add_argument(
            *flag.split(), type=kind, default=default, help=f"{text}{_shown(default, variable)}", **more
        )
        if variable:
            self._variables[action.dest] = (variable, kind)

    def switch_off(self, flag: str, name: str, text: str) -> None:
        """A flag without a value for what is on otherwise."""
        self._group.add_argument(flag, dest=name, action="store_false", help=text)

    def variable(self, name: str, variable: str, kind: Callable[[str], Any], default: Any) -> None:
        """A value that has a variable and no flag."""
        self._from_variables_only[name] = default
        self._variables[name] = (variable, kind)

    def flags(self) -> list[tuple[str, str, str]]:
        return [
            (action.option_strings[-1], "" if action.nargs == 0 else str(action.metavar or "VALUE"), action.help or "")
            for action in self._parser._actions
            if action.dest != "help"
        ]

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        values = dict(self._from_variables_only)
        defaults: dict[str, Any] = {}
        for name, (variable, kind) in self._variables.items():
            text = self._environ.get(variable, "")
            if text:
                try:
                    defaults[name] = kind(text)
                except (ValueError, argparse.ArgumentTypeError) as error:
                    raise OptionError(f"{variable}: {error}", BAD_CONFIGURATION) from None
        values.update({name: value for name, value in defaults.items() if name in values})
        self._parser.set_defaults(**{name: value for name, value in defaults.items() if name not in values})
        values.update(vars(self._parser.parse_args(argv)))
        return values


def _table(environ: Mapping[str, str]) -> _Table:
    table = _Table(environ)
    _add_identity(table)
    _add_pace(table)
    _add_capacity(table)
    _add_events(table)
    _add_faults(table)
    _add_process(table)
    _add_membership(table)
    return table


def _shown(default: Any, variable: str) -> str:
    said = []
    if default not in (None, "", ()):
        shown = default.value if isinstance(default, FaultKind) else default
        said.append(f"default {'the built-in one' if isinstance(shown, Path) else shown}")
    if variable:
        said.append(f"variable {variable}")
    return f" ({', '.join(said)})" if said else ""


def _number(kind: Callable[[str], Any], low: float, high: float = float("inf")) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not low <= value <= high:
            wanted = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
            raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
        return value

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return read


def _truth(text: str) -> bool:
    return text.lower() in ("true", "1", "yes", "on")


def _fault_kind(text: str) -> FaultKind:
    return FaultKind(_one_of(*(kind.value for kind in FaultKind))(text))


def _log_filter(text: str) -> str:
    if not LOG_FILTER.fits(text):
        raise argparse.ArgumentTypeError(f"must be {LOG_FILTER.expected}, got {text!r}")
    return text


def _usable(check: Callable[[str], object]) -> Callable[[str], str]:
    """The text, as long as the check has nothing against it."""

    def read(text: str) -> str:
        try:
            check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return read


def _taints(text: str) -> tuple[str, ...]:
    """Each once and in order, as real workers publish them."""
    names = sorted({name.strip() for name in text.split(",")})
    if "" in names:
        raise argparse.ArgumentTypeError(f"{text!r} holds an empty name")
    reserved = next((name for name in names if name.startswith(_TOPOLOGY)), None)
    if reserved is not None:
        raise argparse.ArgumentTypeError(f"taint {reserved!r} uses the reserved prefix {_TOPOLOGY!r}")
    return tuple(names)


def _folder(text: str) -> str:
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return text


def _script(text: str) -> list[Any]:
    try:
        entries = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    if not isinstance(entries, list):
        raise argparse.ArgumentTypeError(f"{text} holds no JSON list")
    return entries


def _model_dir(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    for name in ("config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise argparse.ArgumentTypeError(f"{path} holds no {name}")
    return path


def _add_identity(table: _Table) -> None:
    table.group("identity")
    table.add("--model-name", str, "mock", "name that clients use")
    table.add("--model-path", _model_dir, MODEL_DIR, "model directory to take tokenizer and template from")
    for name, what in (("tool_call_parser", "tool calls"), ("reasoning_parser", "thoughts")):
        flag, variable = name.replace("_", "-"), f"DYN_{name.upper()}"
        text = f"parser of {what} to name in the card"
        table.add(f"--dyn-{flag} --{flag}", str, None, text, variable, metavar="NAME", dest=name)
    table.add("--namespace", str, "dynamo", "namespace to register in", "DYN_NAMESPACE")
    table.add("--component", str, "backend", "component to register as")
    table.add("--endpoint", str, "generate", "endpoint to register")
    codec = _one_of("msgpack", "json")
    table.add("--codec", codec, "msgpack", "codec to ask frontends for: msgpack or json", "DYN_REQUEST_PLANE_CODEC")


def _add_pace(table: _Table) -> None:
    table.group("answers and their pace")
    rate = _number(float, 0)
    table.add("--prefill-tokens-per-sec", rate, 20000.0, "prompt tokens a second and stream; 0: no prefill time")
    table.add("--decode-tokens-per-sec", rate, 60.0, "tokens a second and stream; 0: as fast as it goes")
    table.add("--speedup-ratio", rate, 1.0, "factor on both rates; 0: no simulated delay at all")
    table.add("--tokens-per-item", _number(int, 1), 1, "tokens in one item of the stream")
    table.add("--answer-tokens", _number(int, 1), 128, "length of an answer that nothing cuts short")
    table.add("--seed", int, 0, "other seeds give other answers to the same prompts")
    table.add("--say", _script, None, _SAY, metavar="FILE")


def _add_capacity(table: _Table) -> None:
    table.group("capacity")
    table.add("--max-concurrency", _number(int, 1), 10000, "requests that run at once", "DYN_ENGINE_REQUEST_LIMIT")
    table.add("--queue-limit", _number(int, 0), 40000, "requests that wait", "DYN_DYNAMO_REQUEST_QUEUE_LIMIT")
    table.add("--kv-block-size", _number(int, 1, (1 << 32) - 1), 64, "tokens in a KV block")
    table.add("--total-kv-blocks", _number(int, 1), 16384, "KV blocks of each rank")
    table.add("--data-parallel-size", _number(int, 1, 1024), 1, "ranks, each with a KV cache of its own")
    table.add("--context-length", _number(int, 1), None, "tokens of prompt and answer; else as the model says")
    table.add("--taints", _taints, (), "taints to publish in the card, with commas between", metavar="NAMES")
    table.variable("max_request_bytes", "DYN_TCP_MAX_MESSAGE_SIZE", _number(int, 1024), 33554432)


def _add_events(table: _Table) -> None:
    table.group("events")
    table.switch_off("--no-kv-events", "kv_events", "say nothing about the KV cache")
    plane = _one_of("zmq", "nats")
    table.add("--event-plane", plane, "zmq", "how events travel: zmq or nats", "DYN_EVENT_PLANE")
    servers = _usable(lambda text: check_servers([each.strip() for each in text.split(",") if each.strip()]))
    table.add("--nats-server", servers, "nats://localhost:4222", "URLs of NATS servers for events", "NATS_SERVER")


def _add_faults(table: _Table) -> None:
    table.group("faults on purpose")
    table.add("--fail-every", _number(int, 0), 0, "every so many requests one fails; 0: none")
    kinds = ", ".join(kind.value for kind in FaultKind)
    table.add("--fail-kind", _fault_kind, FaultKind.ERROR_MID, f"how it fails: {kinds}")
    table.add("--stall-secs", _number(float, 0), 0.0, "how long a stall lasts; 0: for ever")


def _add_process(table: _Table) -> None:
    table.group("process")
    drain_variable = "DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS"
    table.add("--drain-secs", _number(float, 0), 30.0, "time that running requests get at the end", drain_variable)
    table.variable("rpc_host", "DYN_TCP_RPC_HOST", str, "")
    table.variable("rpc_port", "DYN_TCP_RPC_PORT", _number(int, 0, 65535), 0)
    table.variable("log_level", "DYN_LOG", _log_filter, "info")
    table.variable("log_jsonl", "DYN_LOGGING_JSONL", _truth, False)


def _add_membership(table: _Table) -> None:
    table.group("discovery")
    backend = _one_of("etcd", "file", "kubernetes")
    where = "where to register: etcd, file or kubernetes"
    table.add("--discovery-backend", backend, "etcd", where, "DYN_DISCOVERY_BACKEND")
    table.add("--file-kv", _folder, None, "directory of file discovery", "DYN_FILE_KV", metavar="DIR")
    table.variable(
        "etcd_endpoints", "ETCD_ENDPOINTS", _usable(lambda text: parse_endpoints(text, False)), "http://localhost:2379"
    )
    for part in ("username", "password", "ca", "client_cert", "client_key"):
        table.variable(f"etcd_auth_{part}", f"ETCD_AUTH_{part.upper()}", str, None)
    table.variable("etcd_lease_ttl_secs", "ETCD_LEASE_TTL", _number(int, 1), 30)
    table.variable("etcd_startup_timeout_secs", "ETCD_STARTUP_CONNECT_TIMEOUT_SECONDS", _number(float, 0), 120.0)
    table.variable("kube_silence_secs", "DYN_FE_KUBE_SILENCE_SECS", _number(float, 1), 75.0)
    table.variable("kube_assume_ready", "DYN_FE_KUBE_ASSUME_READY", _truth, False)
