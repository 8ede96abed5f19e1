import subprocess
import sys

import pytest

from dynamo_fe import __version__
from dynamo_fe.cli.main import COMMANDS, main
from dynamo_fe.config import TABLE

VERSION = f"dynamo-fe {__version__} (compatible with Dynamo Frontend 1.6.1)\n"


@pytest.mark.parametrize("argv", [["--version"], ["serve", "--version"], ["--http-port", "1", "--version"]])
def test_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == VERSION


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["serve", "--help"], ["--http-port", "1", "-h"]])
def test_help_names_every_command_flag_and_variable(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    for setting in TABLE:
        for word in (*setting.flags, setting.variable):
            assert word is None or word in out
    for command in COMMANDS:
        assert command.summary in out


def test_help_shows_default_choices_and_what_is_not_in_effect(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "--http-port N Port to listen on; 0 takes a free one. [8000] DYN_HTTP_PORT" in out
    assert "One of: auto, default, fastokens, basetenkenizer. [auto] DYN_TOKENIZER" in out
    assert "Not in effect yet. [4] DYN_ROUTER_EVENT_THREADS" in out


def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    main(["--help"])
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 115


@pytest.mark.parametrize(
    ("argv", "exit_code"),
    [
        (["--nope"], 1),
        (["serve", "--http-port", "x"], 2),
        (["--response-plane", "quic"], 1),
        (["--mock-workers", "1", "--discovery-backend", "mem"], 1),
        (["--http-host", "no-such-host.invalid", "--http-port", "0"], 1),
        (["--http-host", "192.0.2.1", "--http-port", "0"], 1),
    ],
)
def test_bad_configuration_is_one_line_on_stderr(argv: list[str], exit_code: int) -> None:
    done = subprocess.run([sys.executable, "-m", "dynamo_fe", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_supervisor_imports_nothing_heavy() -> None:
    code = (
        "import sys; import dynamo_fe.cli.main, dynamo_fe.cli.serve_command;"
        "heavy = {'msgspec', 'orjson', 'uvloop', 'asyncio', 'tokenizers', 'grpc', 'granian', 'argparse'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
