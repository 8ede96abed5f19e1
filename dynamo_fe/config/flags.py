"""Reading a command line against the table, with the habits of argparse that users of the original know."""

from collections.abc import Iterable, Sequence

from dynamo_fe.config.errors import FAILED, USAGE_ERROR, ConfigError
from dynamo_fe.config.setting import Setting


class FlagParser:
    """`--flag value`, `--flag=value`, `--x` and `--no-x`; a unique beginning of a long flag is enough."""

    def __init__(self, table: Iterable[Setting]) -> None:
        self._flags: dict[str, tuple[Setting, bool]] = {}
        for setting in table:
            for flag in setting.flags:
                self._flags[flag] = (setting, True)
                if setting.kind == "switch" and flag.startswith("--"):
                    self._flags[f"--no-{flag[2:]}"] = (setting, False)

    def parse(self, argv: Sequence[str]) -> dict[str, tuple[list[str], str]]:
        """By the setting's name: the texts given (one; of a repeated flag the last, of a list all) and the flag used.

        Raises ConfigError.
        """
        found: dict[str, tuple[list[str], str]] = {}
        unknown: list[str] = []
        words = iter(range(len(argv)))
        for position in words:
            flag, equals, attached = argv[position].partition("=")
            known = self._lookup(flag)
            if known is None:
                unknown.append(argv[position])
                continue
            name, (setting, positive) = known
            if setting.kind == "switch":
                if equals:
                    raise ConfigError(f"argument {name}: takes no value, got {attached!r}", USAGE_ERROR)
                value = "true" if positive else "false"
            elif equals:
                value = attached
            else:
                if position + 1 == len(argv) or _looks_like_flag(argv[position + 1]):
                    raise ConfigError(f"argument {name}: expected one argument", USAGE_ERROR)
                value = argv[next(words)]
            earlier = found[setting.name][0] if setting.kind == "words" and setting.name in found else []
            found[setting.name] = ([*earlier, value], name)
        if unknown:
            raise ConfigError(f"Unknown arguments specified: {unknown}{self._hint(unknown[0])}", FAILED)
        return found

    def _lookup(self, flag: str) -> tuple[str, tuple[Setting, bool]] | None:
        if flag in self._flags:
            return flag, self._flags[flag]
        if not flag.startswith("--") or len(flag) < 3:
            return None
        matches = [name for name in self._flags if name.startswith(flag)]
        if len(matches) > 1:
            raise ConfigError(f"ambiguous option: {flag} could match {', '.join(matches)}", USAGE_ERROR)
        return (matches[0], self._flags[matches[0]]) if matches else None

    def _hint(self, word: str) -> str:
        # Costs 10 ms to import, and only a mistyped flag needs it.
        import difflib

        close = difflib.get_close_matches(word.partition("=")[0], self._flags, n=1, cutoff=0.75)
        return f" (did you mean {close[0]}?)" if close else ""


def _looks_like_flag(word: str) -> bool:
    if not word.startswith("-") or word == "-" or " " in word:
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False
