"""Completion: what bash, zsh and fish make of the lines that are typed at them."""

import functools
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dynamo_fe.config import TABLE
from tests.support.typed_shell import SAYS_ITS_WORDS, typed

(MODES,) = (setting.choices for setting in TABLE if setting.name == "router_mode")


@functools.cache
def script_of(shell: str) -> str:
    command = [sys.executable, "-m", "dynamo_fe", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def completed(line: str, tmp_path: Path) -> set[str]:
    """What bash offers behind the line and a blank."""
    return offered([*line.split(), ""], tmp_path)


def offered(words: list[str], tmp_path: Path) -> set[str]:
    """What bash offers for the last of the words, as it splits them."""
    script = tmp_path / "completion"
    script.write_text(script_of("bash"))
    line = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    code = f". {script}; {line}; _dynamo_fe; echo ${{COMPREPLY[@]}}"
    return set(subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_bash_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    first = completed("dynamo-fe", tmp_path)
    assert {"serve", "version", "--http-port", "--router-mode"} <= first
    assert {"bash", "zsh", "fish"} <= completed("dynamo-fe completion", tmp_path)
    assert completed("dynamo-fe serve --router-mode", tmp_path) >= {"round-robin", "random", "kv"}
    assert "--json" in completed("dynamo-fe version", tmp_path)
    assert {"serve", "bench"} <= completed("dynamo-fe help", tmp_path)


def test_bash_completes_behind_an_equals_sign(tmp_path: Path) -> None:
    """Which bash makes a word of its own."""
    begun = ["dynamo-fe", "serve", "--router-mode", "="]
    assert {"round-robin", "kv"} <= offered(begun, tmp_path) <= set(MODES)
    assert offered([*begun, "ro"], tmp_path) == {"round-robin"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a few names to complete."""
    for name in ("my own.toml", "models/tiny/config.json", "models/site.toml", "$it's.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


# Typed behind the program's name, a tab for completion; the words that come of it, with ~ for the home folder.
PATHS = [
    ("--config mod\tsi\t", ["--config", "models/site.toml"]),
    ("--model-path mod\tti\t", ["--model-path", "models/tiny/"]),
    ("--config ~/mod\tsi\t", ["--config", "~/models/site.toml"]),
    ("--config my\t", ["--config", "my own.toml"]),
    ("--config my\\ o\t", ["--config", "my own.toml"]),
    ("--config 'my\t", ["--config", "my own.toml"]),
    ('--config "my o\t', ["--config", "my own.toml"]),
    ("--config ~/my\t", ["--config", "~/my own.toml"]),
    ("--config \\$\t", ["--config", "$it's.toml"]),
    ("--config $HOME/my\t", ["--config", "~/my own.toml"]),
    ("--config=mod\tsi\t", ["--config=models/site.toml"]),
    ("--config=my\t", ["--config=my own.toml"]),
    # nobody else expands a ~ there
    ("--config=~/mod\tsi\t", ["--config=~/models/site.toml"]),
    ("--config=~/my\t", ["--config=~/my own.toml"]),
    ("explain --request my\t", ["explain", "--request", "my own.toml"]),
    ("mock-worker --say my\t", ["mock-worker", "--say", "my own.toml"]),
    ("mock-worker --file-kv mod\tti\t", ["mock-worker", "--file-kv", "models/tiny/"]),
]
WORDS = [
    ("ben\t--conc\t4", ["bench", "--concurrency", "4"]),
    ("--router-mo\tro\t", ["--router-mode", "round-robin"]),
    ("--router-mode=ro\t", ["--router-mode=round-robin"]),
    ("bench --rate 2 -- --router-mo\tro\t", ["bench", "--rate", "2", "--", "--router-mode", "round-robin"]),
    ("bench -- --config my\t", ["bench", "--", "--config", "my own.toml"]),
    ("bench -- --workers 2 --http-p\t9", ["bench", "--", "--workers", "2", "--http-port", "9"]),
    ("completion -- --router-mo\t", ["completion", "--", "--router-mo"]),
    ("srve --http-p\t", ["srve", "--http-p"]),
]


def expanded(words: list[str], home: Path) -> list[str]:
    return [word.replace("~", str(home)) for word in words]


def equally_spelt(words: list[str]) -> list[str]:
    """With --flag=value as two words, and without the slash behind a folder, which zsh takes away."""
    return [part.rstrip("/") for word in words for part in word.split("=", 1)]


@pytest.mark.parametrize("start", ["", "set -eu; IFS=:"])
@pytest.mark.parametrize(("keys", "words"), [*PATHS, *WORDS])
def test_bash_completes_what_is_typed(keys: str, words: list[str], start: str, home: Path) -> None:
    (home / ".rc").write_text(f"{SAYS_ITS_WORDS}{script_of('bash')}{start}\n")
    got, shown = typed(["bash", "--rcfile", ".rc", "-i"], f"dynamo-fe {keys}", home, {"INPUTRC": "/dev/null"})
    assert got == expanded(words, home), shown
    assert "unbound" not in shown and "compopt" not in shown


@pytest.mark.parametrize(("keys", "words"), [*PATHS, *WORDS])
def test_the_package_bash_completion_finds_the_script(keys: str, words: list[str], home: Path) -> None:
    (home / ".rc").write_text(f"{SAYS_ITS_WORDS}. /usr/share/bash-completion/bash_completion\n")
    place = home / ".local/share/bash-completion/completions/dynamo-fe"
    place.parent.mkdir(parents=True)
    place.write_text(script_of("bash"))
    got, shown = typed(["bash", "--rcfile", ".rc", "-i"], f"dynamo-fe {keys}", home, {"INPUTRC": "/dev/null"})
    assert got == expanded(words, home), shown


@pytest.mark.parametrize(("keys", "words"), [*PATHS, *WORDS])
def test_zsh_completes_what_is_typed(keys: str, words: list[str], home: Path) -> None:
    (home / "functions").mkdir()
    (home / "functions" / "_dynamo-fe").write_text(script_of("zsh"))
    start = "fpath=($HOME/functions $fpath)\nautoload -Uz compinit && compinit -u -D\nunsetopt beep\n"
    (home / ".zshrc").write_text(f"{start}{SAYS_ITS_WORDS}")
    got, shown = typed(["zsh", "-d", "-i"], f"dynamo-fe {keys}", home, {"ZDOTDIR": str(home)})
    assert equally_spelt(got) == equally_spelt(expanded(words, home)), shown


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_every_flag(shell: str) -> None:
    script = script_of(shell)
    for setting in TABLE:
        for flag in setting.flags:
            assert (f"-l {flag[2:]}" if shell == "fish" and flag.startswith("--") else flag) in script


def test_fish_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    script = tmp_path / "dynamo-fe.fish"
    script.write_text(script_of("fish"))

    def offered(line: str) -> set[str]:
        code = f"source {script}; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True)
        return {row.split("\t")[0] for row in done.stdout.splitlines()}

    assert {"serve", "bench", "version"} <= offered("dynamo-fe ")
    assert {"--url", "--rate"} <= offered("dynamo-fe bench --")
    assert "--router-mode" not in offered("dynamo-fe bench --rate 2 --")
    assert "--router-mode" in offered("dynamo-fe bench --rate 2 -- --rou")
    assert offered("dynamo-fe bench -- --workers 2 --router-mode ro") == {"round-robin"}
    assert offered("dynamo-fe completion ") == {"bash", "zsh", "fish"}
    assert offered("dynamo-fe serve --router-mode ") >= {"round-robin", "random", "kv"}


def test_zsh_gets_the_words_behind_the_command(tmp_path: Path) -> None:
    """Its own _arguments takes the first word that it is given for the program."""
    script = tmp_path / "_dynamo_fe"
    script.write_text(script_of("zsh"))

    def asked(*words: str) -> list[str]:
        code = f"""
            _arguments() {{ print -l -- "$words[1] $CURRENT" "$@" }}
            _describe() {{ print -l -- $commands }}
            words=({" ".join(words)} ''); CURRENT=${{#words}}; . {script}
        """
        done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = asked("dynamo-fe")
    assert any(line.startswith("bench:") for line in first) and any(line.startswith("--http-port=[") for line in first)
    behind = asked("dynamo-fe", "bench", "--model", "x")
    assert behind[0] == "bench 4" and any(line.startswith("--rate=[") for line in behind)
    assert "1:word:(bash zsh fish)" in asked("dynamo-fe", "completion")
    assert asked("dynamo-fe", "--http-port", "9")[0] == "dynamo-fe 4"
