"""Commands that only say something: each in the process, or through the shell it is for."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dynamo_fe.cli.exit_codes import EXIT_CODES, FOR_GOOD
from dynamo_fe.cli.main import COMMANDS, main
from dynamo_fe.cli.policy_help import EXAMPLE
from dynamo_fe.config import TABLE
from dynamo_fe.config.errors import BAD_CONFIGURATION, USAGE_ERROR
from dynamo_fe.routing.kv.policy_file import RouterSection, parse_policy
from dynamo_fe.routing.kv.rules import CostWeights

ROOT = Path(__file__).resolve().parents[2]
POLICY_KEYS = (
    *("worker_selection", "router", "policy_classes", "uncached_isl_buckets", "default_policy_family", "models"),
    *("queue_policy", "quantum", "policy_family", "cache_bucket", "prefill_busy_threshold_frac"),
    *("request_queue_limit_per_worker", "raw_isl_token_queue_limit_per_worker", "cached_token_queue_limit_per_worker"),
)


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dynamo_fe", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin", **environ})


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dynamo_version"] == "1.6.1" and facts["form"] == "source tree"


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if command.summary])
def test_every_command_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main([name, "--help"]) == 0
    except SystemExit as end:
        assert end.code == 0
    assert capsys.readouterr().out.startswith("usage: dynamo-fe")


def test_the_man_page_is_roff_without_a_warning_and_has_everything(tmp_path: Path) -> None:
    page = tmp_path / "dynamo-fe.1"
    page.write_text(run("man").stdout)
    done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, env={"MANWIDTH": "500"})
    assert (done.returncode, done.stderr) == (0, "")
    for setting in TABLE:
        for word in (*setting.flags, setting.variable or ""):
            assert word in done.stdout, word
    assert done.stdout.count("Not in effect yet.") == sum(setting.status == "pending" for setting in TABLE) > 0
    for command in COMMANDS:
        assert command.summary in done.stdout.lower() or command.summary[1:] in done.stdout


def test_the_man_page_has_a_policy_file_that_can_be_used(tmp_path: Path) -> None:
    page, shown = tmp_path / "dynamo-fe.1", {"MANWIDTH": "2000", "LC_ALL": "C.UTF-8"}
    page.write_text(run("man").stdout)
    text = subprocess.run(["man", "-l", page], capture_output=True, text=True, env=shown, check=True).stdout
    about, _, example = text[text.index("POLICY FILE") : text.index("\nSIGNALS")].partition("An example:\n")
    assert all(name in about for name in (*CostWeights.__slots__, *POLICY_KEYS) if name != "shared_cache_multiplier")
    idle = set(re.findall(r"\w+", about.partition("Without effect yet: ")[2].partition(".")[0]))
    pending = {each.name for each in TABLE if each.status == "pending"} & {*RouterSection.__struct_fields__}
    # other values than none are refused
    assert idle == pending - {"router_prefill_load_model", "shared_cache_type"}
    policy = parse_policy(textwrap.dedent(example))
    assert policy == parse_policy(EXAMPLE)
    assert policy.weights == CostWeights(overlap_score_credit=1.5, router_temperature=0.1)
    assert policy.router.router_replica_sync is True and policy.profile is not None
    found = [policy.profile.classify(*asked) for asked in ((None, 2047), (None, 2048), ("batch", 0), ("batch", 9999))]
    assert [each.name for each in found] == ["chat", "chat-long", "batch", "batch-long"]
    assert [each.queue_policy for each in found] == ["fcfs", "fcfs", "wspt", "wspt"]
    assert found[0].quantum == 4 * found[2].quantum


@pytest.mark.parametrize("unit", ["dynamo-fe.service", "dynamo-fe@.service", "dynamo-fe-mock@.service"])
def test_no_unit_is_started_anew_for_what_does_not_get_better(unit: str) -> None:
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", (ROOT / "systemd" / unit).read_text(), re.MULTILINE)
    wanted = FOR_GOOD if "mock" not in unit else (USAGE_ERROR, BAD_CONFIGURATION)
    assert codes.split() == [str(code) for code in wanted]
    assert set(wanted) <= {code for code, _ in EXIT_CODES}


WRONG = [["version", "--bogus"], ["man", "x"], ["help", "a", "b"], ["help", "--bogus"], ["completion"]]


@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_a_word_too_many_or_too_few_is_answered_with_the_usage(argv: list[str]) -> None:
    done = run(*argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"usage: dynamo-fe {argv[0]}")


@pytest.mark.parametrize("argv", [["srve"], ["srve", "--http-port", "1"], ["help", "srve"]])
def test_a_misspelt_command_is_answered_with_the_nearest(argv: list[str]) -> None:
    done = run(*argv)
    said = "dynamo-fe: error: unknown command srve (did you mean serve?)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize("name", ["serve", "mock-worker", "bench", "help"])
def test_help_has_a_command_of_its_own(name: str) -> None:
    assert run("help", name).stdout == run(name, "--help").stdout != ""
    assert run("help").stdout == run("--help").stdout


def test_another_shell_is_refused() -> None:
    done = run("completion", "tcsh")
    assert (done.returncode, done.stderr) == (2, "usage: dynamo-fe completion bash|zsh|fish\n")


def test_print_config_shows_where_a_value_comes_from_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text("workers = 2\n")
    environ = {"DYN_FE_CONFIG": str(tmp_path / "file.toml"), "NATS_AUTH_TOKEN": "hunter2"}
    done = run("print-config", "--origin", "--http-port", "9", **environ)
    lines = {line.split(" = ")[0]: line for line in done.stdout.splitlines()}
    assert lines["http_port"].endswith("# --http-port") and lines["http_port"].startswith("http_port = 9 ")
    assert lines["workers"].endswith(f"# {tmp_path / 'file.toml'}:1")
    assert lines["nats_auth_token"].endswith("# NATS_AUTH_TOKEN")
    assert "hunter2" not in done.stdout
    as_json = json.loads(run("print-config", "--json", "--origin", "--http-port", "9").stdout)
    assert as_json["http_port"] == {"value": 9, "origin": "--http-port"}


@pytest.mark.parametrize("form", [[], ["--origin"], ["--json"], ["--origin", "--json"]])
@pytest.mark.parametrize("end", ["@t1", "/t1", "?t1", "#t1", ",t1", " t1", '"t1', "@/?#t1"])
def test_print_config_shows_no_login_of_a_url(form: list[str], end: str) -> None:
    environ = {
        "NATS_SERVER": f"nats://user:s3cr{end}@10.0.0.1:4222,nats://t0ken-secr3t@10.0.0.2",
        "ETCD_ENDPOINTS": f"root:s3cret2{end}@10.0.0.1:2379",
    }
    done = run("print-config", *form, **environ)
    assert done.returncode == 0
    assert not any(part in done.stdout for part in ("s3cr", "t1@", "secr3t", "user:", "root:"))
    assert all(part in done.stdout for part in ("nats://<REDACTED>@10.0.0.1:4222,nats://<REDACTED>@10.0.0.2", "2379"))


def test_what_is_printed_can_be_served_from(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text(run("print-config", "--workers", "3").stdout)
    done = run("print-config", "--config", str(tmp_path / "file.toml"))
    (tmp_path / "again.toml").write_text(done.stdout)
    assert run("check-config", "--config", str(tmp_path / "again.toml")).returncode == 0
    assert "workers = 3\n" in done.stdout


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--tls-cert-path", "/none.pem", "--tls-key-path", "/none.pem"], 1),
        (["--mock-workers", "1", "--discovery-backend", "mem"], 1),
        (["--http-port", "x"], 2),
        (["--config", "/none.toml"], 66),
    ],
)
def test_check_config_refuses_what_serve_would(argv: list[str], code: int) -> None:
    done = run("check-config", *argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert run(*argv).stderr == done.stderr


def test_check_config_takes_what_can_be_served() -> None:
    done = run("check-config", "--http-port", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration can be served\n", "")


def test_check_config_says_that_it_writes_no_dump(tmp_path: Path) -> None:
    target = tmp_path / "dump.json"
    done = run("check-config", "--dump-config-to", str(target))
    assert (done.returncode, not target.exists()) == (0, True)
    assert done.stdout.splitlines()[1] == f"not written to {target}: only serve does that"


def test_print_config_refuses_to_write_a_dump(tmp_path: Path) -> None:
    target = tmp_path / "dump.json"
    done = run("print-config", "--dump-config-to", str(target))
    assert (done.returncode, done.stdout, target.exists()) == (USAGE_ERROR, "", False)
    assert "--dump-config-to: print-config writes no file" in done.stderr and done.stderr.count("\n") == 1
    # the variable is meant for serve
    assert run("print-config", DYN_DUMP_CONFIG_TO=str(target)).returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = f"{sys.executable} -m dynamo_fe man | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


SAYING = [["--help"], ["version"], ["print-config"], ["man"], ["completion", "zsh"], ["check-config"], ["help", "man"]]


@pytest.mark.parametrize("argv", SAYING, ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(argv: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "dynamo_fe", *argv]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (74, "dynamo-fe: error: cannot write: No space left on device\n")


@pytest.mark.parametrize("argv", SAYING, ids=" ".join)
def test_nobody_to_write_to_is_no_error(argv: list[str]) -> None:
    code = f"{sys.executable} -m dynamo_fe {' '.join(argv)} >&-"
    done = subprocess.run(["bash", "-c", code], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_characters_that_the_locale_lacks_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text('model_name = "ü"\n', encoding="utf-8")
    done = run("print-config", "--config", str(tmp_path / "file.toml"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and 'model_name = "\\xfc"\n' in done.stdout


def test_the_configuration_is_dumped_as_the_original_does(tmp_path: Path) -> None:
    target = tmp_path / "new" / "dump.json"
    # the port cannot be listened on, so it ends after the dump
    logins = {"NATS_AUTH_TOKEN": "hunter2", "NATS_SERVER": "me:pa/hunter2@a:1", "DYN_X": "http://me:pa,hunter2@a"}
    done = run("--dump-config-to", str(target), "--http-host", "192.0.2.1", **logins)
    assert done.returncode == 1 and f"made the folder {target.parent}\n" in done.stderr
    dump = json.loads(target.read_text())
    assert set(dump) >= {"system_info", "environment", "config", "runtime_info", "dynamo_version"}
    assert dump["config"]["http_host"] == "192.0.2.1"
    keys = set((ROOT / "tests/fixtures/dynamo_frontend_dump_keys.txt").read_text().split())
    # of settings that are one here, whose flags it has no more, and of its own
    gone = {key for key in keys if key.startswith("conditional_disagg_")} | {"overlap_score_weight", "_router_settings"}
    assert keys - set(dump["config"]) == gone
    assert "hunter2" not in target.read_text()


def test_the_template_is_a_file_that_changes_nothing_and_so_are_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    template = run("print-config", "--template").stdout
    file.write_text(template)
    assert run("check-config", "--config", str(file)).returncode == 0
    lines = [line[1:] for line in template.splitlines() if line[:1] == "#" and line[1:2].isalpha()]
    assert len(lines) > 60
    file.write_text("\n".join(line for line in lines if "…" not in line))
    settings = run("print-config", "--config", str(file)).stdout
    assert settings == run("print-config").stdout.replace("# config is not set", f'# config = "{file}"')
