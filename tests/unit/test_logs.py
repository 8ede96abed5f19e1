"""The log as it comes out of a process."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CODE = """
import logging, os, sys
from dynamo_fe.ops.logs import configure
if os.environ.get("JOURNAL_STREAM") == "stderr":
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
configure(os.environ.get("DYN_LOG", "info"), "DYN_LOGGING_JSONL" in os.environ)
log = logging.getLogger("dynamo_fe.http")
log.debug("fine")
log.info("two\\nlines")
logging.getLogger("dynamo_fe.planes").debug("of planes")
logging.getLogger("other").warning("of others")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
log.critical("end")
"""


def lines(**environ: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", CODE], env=os.environ | environ, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return done.stderr.splitlines()


def test_each_record_is_one_line() -> None:
    found = lines()
    assert len(found) == 4
    assert found[0].endswith(": two | lines") and " INFO    dynamo_fe.http[" in found[0]
    assert ": failed | Traceback" in found[2] and found[2].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("debug", 6), ("warn", 3), ("off", 0), ("info,dynamo_fe::planes=debug", 5), ("error,dynamo_runtime=debug", 2),
        ("dynamo_runtime,debug", 6), ("1", 2),
    ],
)  # fmt: skip
def test_the_level_is_what_dyn_log_says(words: str, count: int) -> None:
    assert len(lines(DYN_LOG=words)) == count


def test_json_is_one_object_a_line() -> None:
    found = [json.loads(line) for line in lines(DYN_LOGGING_JSONL="1")]
    assert [entry["level"] for entry in found] == ["INFO", "WARNING", "ERROR", "CRITICAL"]
    assert found[0]["message"] == "two\nlines" and "Traceback" in found[2]["exception"]


def test_the_journal_gets_priorities_and_neither_time_nor_process() -> None:
    found = lines(JOURNAL_STREAM="stderr", DYN_LOG="debug")
    assert [line[:3] for line in found] == ["<7>", "<6>", "<7>", "<4>", "<3>", "<2>"]
    assert found[0] == "<7>dynamo_fe.http: fine"
    assert json.loads(lines(JOURNAL_STREAM="stderr", DYN_LOGGING_JSONL="1")[0].removeprefix("<6>"))["pid"]


def test_another_stream_than_the_journals_gets_no_priorities() -> None:
    with tempfile.TemporaryFile() as other:
        found = os.fstat(other.fileno())
        assert lines(JOURNAL_STREAM=f"{found.st_dev}:{found.st_ino}")[0][:2] == "20"


REFUSED = {
    "serve": ["serve", "--http-port", "none"],
    "serve on a port in use": ["serve", "--http-host", "127.0.0.1", "--http-port", "PORT"],
    "check-config": ["check-config", "--http-port", "none"],
    "print-config": ["print-config", "--http-port", "none"],
    "doctor": ["doctor", "--http-port", "none"],
    "mock-worker": ["mock-worker", "--decode-tokens-per-sec", "none"],
    "unknown": ["unknown"],
}


def last_words(words: list[str], **environ: str) -> list[str]:
    """What a command says that is refused, on what it is told is the stream of the journal if that is wanted."""
    code = (
        "import os, sys; from dynamo_fe.cli.main import main; found = os.fstat(2);"
        "os.environ['JOURNAL_STREAM'] = f'{found.st_dev}:{found.st_ino}' if 'JOURNAL_STREAM' in os.environ else '';"
        "sys.exit(main(sys.argv[1:]))"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [word.replace("PORT", str(taken.getsockname()[1])) for word in words]
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, env=os.environ | environ, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode != 0
    return done.stderr.splitlines()


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_last_words_are_a_record_where_others_are(words: list[str]) -> None:
    (plain,) = last_words(words)
    (as_json,) = last_words(words, DYN_LOGGING_JSONL="1")
    entry = json.loads(as_json)
    assert entry["level"] == "ERROR" and entry["target"].startswith("dynamo_fe.")
    assert re.sub(r"\d+", "N", plain).endswith(re.sub(r"\d+", "N", entry["message"]))
    (in_journal,) = last_words(words, JOURNAL_STREAM="wanted")
    assert re.match(r"<3>dynamo_fe\.\w+: ", in_journal)
    (both,) = last_words(words, JOURNAL_STREAM="wanted", DYN_LOGGING_JSONL="1")
    assert both.startswith("<3>{") and json.loads(both[3:])["level"] == "ERROR"


def test_last_words_follow_the_file_as_well(tmp_path: Path) -> None:
    config = tmp_path / "dynamo-fe.toml"
    config.write_text("log_jsonl = true\n")
    words = REFUSED["serve on a port in use"]
    (said,) = last_words([*words, "--config", str(config)])
    assert "already in use" in json.loads(said)["message"]


@pytest.mark.parametrize("fault", ["http_prot = 1", "workers = 'x'", "tls_key_path = 'no such file'"])
def test_last_words_follow_a_file_with_a_fault_elsewhere(tmp_path: Path, fault: str) -> None:
    config = tmp_path / "dynamo-fe.toml"
    config.write_text(f"log_jsonl = true\n{fault}\n")
    for command in ("serve", "check-config"):
        (said,) = last_words([command, "--config", str(config)])
        assert json.loads(said)["level"] == "ERROR"
        (plain,) = last_words([command, "--config", str(config)], DYN_LOGGING_JSONL="false")
        assert plain.startswith("dynamo-fe: error: ")


STUCK = """
import logging, os, sys
from dynamo_fe.ops.logs import configure
reader, writer = os.pipe()
os.set_blocking(writer, False)
filled = 0
try:
    while True:
        filled += os.write(writer, bytes(4096))
except BlockingIOError:
    os.set_blocking(writer, True)
os.dup2(writer, 2)
configure("info", False)
log = logging.getLogger("dynamo_fe.http")
log.info("one")
log.info("two")
while filled:
    filled -= len(os.read(reader, filled))
log.info("three")
sys.stdout.buffer.write(os.read(reader, 4096))
"""


def test_what_nobody_takes_is_left_out_and_counted() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first.endswith(": 2 lines are missing here: nobody took them") and " WARNING " in first
    assert second.endswith(": three")
