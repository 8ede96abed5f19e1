"""Completion scripts for bash, zsh and fish, from the table of commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from dynamo_fe.cli.command import ANY_COMMAND, Command, Option
from dynamo_fe.config import TABLE
from dynamo_fe.config.errors import USAGE_ERROR

_SHELLS: Final = ("bash", "zsh", "fish")


def completion(argv: Sequence[str], commands: Sequence[Command]) -> int:
    """Prints the script of the shell that `argv` names."""
    if len(argv) != 1 or argv[0] not in _SHELLS:
        print(f"usage: dynamo-fe completion {'|'.join(_SHELLS)}", file=sys.stderr)
        return USAGE_ERROR
    shown = [command for command in commands if command.summary]
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[argv[0]](shown)
    print(script, end="")
    return 0


def options_of(command: Command) -> list[Option]:
    """Its own and, where it takes them, those of serve."""
    own = list(command.options())
    return own + ([Option.of(setting) for setting in TABLE if setting.flags] if command.serve_options else [])


def _operands(command: Command, commands: Sequence[Command]) -> list[str]:
    if command.operands == (ANY_COMMAND,):
        return [each.name for each in commands]
    return [word for operand in command.operands for word in operand.split("|")]


def _bash(commands: Sequence[Command]) -> str:
    lines = [
        "# bash completion of dynamo-fe",
        "_dynamo_fe() {",
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=serve",
        # to bash the = of --flag=value is a word
        '    [ "$word" = = ] && word=',
        '    [ "$before" = = ] && before=${COMP_WORDS[COMP_CWORD-2]}',
        "    [ $COMP_CWORD -gt 1 ] && [[ ${COMP_WORDS[1]} != -* ]] && command=${COMP_WORDS[1]}",
        "    local names flags",
        f"    names='{' '.join(command.name for command in commands)}'",
        "    case $before in",
    ]
    lines += [f"        {flag}) {action}; return ;;" for flag, action in _bash_values(commands)]
    lines += ["    esac", "    case $command in"]
    for command in commands:
        words = [flag for option in options_of(command) for flag in option.flags] + ["--help"]
        words += _operands(command, commands)
        lines.append(f"        {command.name}) flags='{' '.join(words)}' ;;")
    lines += [
        "    esac",
        '    [ $COMP_CWORD -eq 1 ] && flags="$names $flags"',
        '    COMPREPLY=($(compgen -W "$flags" -- "$word"))',
        "}",
        "complete -F _dynamo_fe dynamo-fe",
    ]
    return "\n".join(lines) + "\n"


def _bash_values(commands: Sequence[Command]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for option in (option for command in commands for option in options_of(command)):
        for flag in option.flags:
            if flag in seen or not option.operand:
                continue
            seen.add(flag)
            if option.words:
                yield flag, f"COMPREPLY=($(compgen -W '{' '.join(option.words)}' -- \"$word\"))"
            elif _takes_path(flag):
                yield flag, 'COMPREPLY=($(compgen -f -- "$word"))'
            else:
                yield flag, "COMPREPLY=()"


def _zsh(commands: Sequence[Command]) -> str:
    lines = ["#compdef dynamo-fe", "_dynamo_fe() {", "    local -a commands", "    commands=("]
    lines += [f"        {_quoted(f'{command.name}:{command.summary}')}" for command in commands]
    lines += ["    )", "    local command=serve"]
    # _arguments takes the first word for the program's name, and any other for an operand
    lines += ["    if [[ $CURRENT -gt 2 && $words[2] != -* ]]; then command=$words[2]; shift words; (( CURRENT-- ))"]
    lines += ["    elif (( CURRENT == 2 )); then _describe command commands; fi", "    case $command in"]
    for command in commands:
        lines.append(f"        {command.name}) _arguments -S \\")
        for option in options_of(command):
            lines += [f"            {_quoted(_zsh_spec(flag, option))} \\" for flag in option.flags]
        if command.operands:
            words = " ".join(_operands(command, commands))
            lines.append(f"            {_quoted(f'1:word:({words})')} \\")
        lines.append("            '--help[print the options]' ;;")
    lines += ["    esac", "}", '_dynamo_fe "$@"']
    return "\n".join(lines) + "\n"


def _zsh_spec(flag: str, option: Option) -> str:
    help_text = option.help.replace("[", "(").replace("]", ")").replace(":", ";")
    value = ""
    if option.words:
        value = f":{option.operand}:({' '.join(option.words)})"
    elif option.operand:
        value = f":{option.operand}:{'_files' if _takes_path(flag) else ' '}"
    return f"{flag}[{help_text}]{value}"


def _fish(commands: Sequence[Command]) -> str:
    names = " ".join(command.name for command in commands)
    lines = ["# fish completion of dynamo-fe", "complete -c dynamo-fe -f"]
    for command in commands:
        lines.append(
            f"complete -c dynamo-fe -n 'not __fish_seen_subcommand_from {names}' "
            f"-a {command.name} -d {_quoted(command.summary)}"
        )
    for command in commands:
        condition = f"__fish_seen_subcommand_from {command.name}"
        if command.name == "serve":
            condition += f"; or not __fish_seen_subcommand_from {names}"
        for option in options_of(command):
            lines += [_fish_option(flag, option, condition) for flag in option.flags]
        lines += [f"complete -c dynamo-fe -n '{condition}' -a {word}" for word in _operands(command, commands)]
    return "\n".join(lines) + "\n"


def _fish_option(flag: str, option: Option, condition: str) -> str:
    name = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    value = ""
    if option.words:
        value = f" -x -a {_quoted(' '.join(option.words))}"
    elif option.operand:
        value = " -r -F" if _takes_path(flag) else " -x"
    return f"complete -c dynamo-fe -n '{condition}' {name}{value} -d {_quoted(option.help)}"


def _takes_path(flag: str) -> bool:
    return flag.endswith(("-path", "-file", "-to", "-config", "--config"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
