"""Values that nothing could be done with are refused by flag, variable and file alike."""

from pathlib import Path

import pytest

from dynamo_fe.config import TABLE, ConfigError, load
from dynamo_fe.config.forms import HEADER, HOST, LOG_FILTER, ROUTE, WEB_ORIGIN, Form
from dynamo_fe.config.setting import Setting


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (HOST, ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "my-host.example.", "a_b", "x1"]),
        (LOG_FILTER, ["info", "INFO", "warning", "off", "3", "info,dynamo=debug", "dynamo_runtime", "hyper=off,debug",
                      "dynamo_llm::kv_router", "info,dynamo_fe::planes=trace", "[span{a=1,b=2}]=debug,info", "=warn",
                      "t[s]=info", " info , dynamo=debug ", "info,", "dynamo"]),
        (HEADER, ["x-dynamo-meta-", "X_1"]),
        (ROUTE, ["/chat", "chat", "/a/b-c"]),
        (WEB_ORIGIN, ["*", "https://app.example", "http://localhost:3000", "http://[::1]:80", "https://a.b/"]),
    ],
)  # fmt: skip
def test_what_is_taken(form: Form, texts: list[str]) -> None:
    assert [text for text in texts if not form.fits(text)] == []


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (HOST, ["0.0.0.0:80", "http://x", "a b", "999.1.1.1", "1.2.3", "[::1]", "-x", "a..b", "a" * 64, "ä"]),
        (LOG_FILTER, ["loud", "debgu", "info,loud", "dynamo=loud", "info dynamo=debug", "info;debug", "a=b=c", "6"]),
        (HEADER, ["x y", "x:", "ä"]),
        (ROUTE, ["/a b", "/a?b", "/a#b"]),
        (WEB_ORIGIN, ["app.example", "https://", "https://a/b", "https://a:x", "null"]),
    ],
)
def test_what_is_refused(form: Form, texts: list[str]) -> None:
    assert [text for text in texts if form.fits(text)] == []


def test_the_defaults_have_their_form() -> None:
    assert all(each.form is None or not each.default or each.form.fits(str(each.default)) for each in TABLE)


def refusals(setting: Setting, text: str, written: str, home: Path) -> list[tuple[str, int]]:
    """By flag and by variable, where there is one, and by file: what is said, and the exit code."""
    file = home / "dynamo-fe.toml"
    file.write_text(f"\n{setting.name} = {written}\n")
    ways: list[tuple[list[str], dict[str, str]]] = [(["--config", str(file)], {})]
    ways += [([flag, text], {}) for flag in setting.flags[-1:]]
    ways += [([], {setting.variable: text})] if setting.variable else []
    found = []
    for argv, environ in ways:
        with pytest.raises(ConfigError) as error:
            load(argv, environ)
        found.append((str(error.value), error.value.exit_code))
    return found


NUMBERS = [setting for setting in TABLE if setting.kind in ("whole", "real")]


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda each: each.name)
def test_no_number_is_too_large_for_what_is_done_with_it(setting: Setting, tmp_path: Path) -> None:
    number = "9" * 30 if setting.kind == "whole" else "1e300"
    found = refusals(setting, number, number, tmp_path)
    assert found[0][0].startswith(f"{tmp_path}/dynamo-fe.toml:2: {setting.name} must be ")
    assert [code for _, code in found] == [78, *[1 for _ in setting.flags[-1:]], *[78 for _ in [setting.variable] if _]]


@pytest.mark.parametrize("setting", [each for each in TABLE if each.form is not None], ids=lambda each: each.name)
def test_a_text_of_another_form_is_refused_with_what_is_allowed(setting: Setting, tmp_path: Path) -> None:
    assert setting.form is not None
    word = "ä?" if setting.kind == "words" else "ä ?"
    written = f'["{word}"]' if setting.kind == "words" else f'"{word}"'
    found = refusals(setting, word, written, tmp_path)
    assert found[0] == (
        f"{tmp_path}/dynamo-fe.toml:2: {setting.name} must be {setting.form.expected}, got {word!r}", 78
    )  # fmt: skip
    assert all(setting.form.expected in text for text, _ in found)
