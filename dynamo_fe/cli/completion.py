"""Completion scripts for bash, zsh and fish, from the table of commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from dynamo_fe.cli.command import ANY_COMMAND, Command, Option
from dynamo_fe.config import TABLE
from dynamo_fe.config.errors import USAGE_ERROR

_SHELLS: Final = ("bash", "zsh", "fish")

# The word that is completed, the flag before it, the command. To bash the = of --flag=value is a word. Under set -e a
# word that nothing completes would end the shell.
_BASH_PLACE: Final = """\
    local -; set +eu
    local IFS=$' \\t\\n' word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=serve words= at
    COMPREPLY=()
    [[ $word != = ]] || word=
    [[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD-2]}
    [ $COMP_CWORD -eq 1 ] || [[ ${COMP_WORDS[1]} == -* ]] || command=${COMP_WORDS[1]}"""

# Readline completes paths better than a list of them can: quotes, ~, folders. But a ~ behind = nobody would expand.
_BASH_PATHS: Final = """\
# bash completion of dynamo-fe
_dynamo_fe_paths() {
    if [[ $word == '~/'* && ${COMP_WORDS[COMP_CWORD-1]} == = ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$HOME/${word:2}")
    else
        compopt -o bashdefault -o default
    fi
}"""

_ZSH_PATHS: Final = """\
_dynamo_fe_paths() {
    [[ $IPREFIX == *= && $PREFIX == '~/'* ]] && PREFIX=$HOME/${PREFIX[3,-1]}
    _files
}"""

_FISH_BEHIND: Final = """\
function __dynamo_fe_behind
    set -l words (commandline -opc)
    set -e words[1..(contains -i -- -- $words)]
    complete -C "dynamo-fe serve "(string join ' ' -- (string escape -- $words) (commandline -ct))
end"""


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


def _forwarding(commands: Sequence[Command]) -> list[str]:
    """Those that pass the words behind a lone -- on to serve."""
    return [command.name for command in commands if command.serve_behind_dashes]


def _operands(command: Command, commands: Sequence[Command]) -> list[str]:
    if command.operands == (ANY_COMMAND,):
        return [each.name for each in commands]
    return [word for operand in command.operands for word in operand.split("|")]


def _bash(commands: Sequence[Command]) -> str:
    lines = [_BASH_PATHS, "_dynamo_fe() {", _BASH_PLACE]
    for name in _forwarding(commands):
        lines.append(f"    if [[ $command == {name} ]]; then")
        lines.append("        for ((at = 2; at < COMP_CWORD; at++)); do")
        lines.append("            [[ ${COMP_WORDS[at]} != -- ]] || command=serve")
        lines += ["        done", "    fi"]
    lines += ["    case $before in", *_bash_values(commands), "    esac", "    case $command in"]
    for command in commands:
        words = [flag for option in options_of(command) for flag in option.flags] + ["--help"]
        words += _operands(command, commands)
        lines.append(f"        {command.name}) words='{' '.join(words)}' ;;")
    lines += [
        "    esac",
        f'    [ $COMP_CWORD -gt 1 ] || words="{" ".join(command.name for command in commands)} $words"',
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -F _dynamo_fe dynamo-fe",
    ]
    return "\n".join(lines) + "\n"


def _bash_values(commands: Sequence[Command]) -> Iterable[str]:
    """One line for all flags that take the same."""
    flags_by_action: dict[str, list[str]] = {}
    seen: set[str] = set()
    for option in (option for command in commands for option in options_of(command)):
        if option.operand and seen.isdisjoint(option.flags):
            seen.update(option.flags)
            flags_by_action.setdefault(_bash_value(option), []).extend(option.flags)
    for action, flags in flags_by_action.items():
        yield f"        {'|'.join(flags)}) {action}return ;;"


def _bash_value(option: Option) -> str:
    if option.words:
        return f"COMPREPLY=($(compgen -W '{' '.join(option.words)}' -- \"$word\")); "
    return "_dynamo_fe_paths; " if _takes_path(option) else ""


def _zsh(commands: Sequence[Command]) -> str:
    lines = ["#compdef dynamo-fe", _ZSH_PATHS, "_dynamo_fe() {", "    local -a commands", "    commands=("]
    lines += [f"        {_quoted(f'{command.name}:{command.summary}')}" for command in commands]
    lines += ["    )", "    local command=serve dashes=0"]
    # _arguments takes the first word for the program's name, and any other for an operand
    lines += ["    if [[ $CURRENT -gt 2 && $words[2] != -* ]]; then command=$words[2]; shift words; (( CURRENT-- ))"]
    lines += ["    elif (( CURRENT == 2 )); then _describe command commands; fi"]
    for name in _forwarding(commands):
        lines.append(f"    if [[ $command == {name} ]] && (( (dashes = $words[(i)--]) < CURRENT )); then")
        lines.append('        command=serve; words=(serve "${(@)words[dashes+1,-1]}"); (( CURRENT -= dashes - 1 ))')
        lines.append("    fi")
    lines.append("    case $command in")
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
    if not option.operand:
        return f"{flag}[{help_text}]"
    what = f"({' '.join(option.words)})" if option.words else "_dynamo_fe_paths" if _takes_path(option) else " "
    # with = the value may stand behind one
    return f"{flag}{'=' if flag.startswith('--') else ''}[{help_text}]:{option.operand}:{what}"


def _fish(commands: Sequence[Command]) -> str:
    names = " ".join(command.name for command in commands)
    lines = ["# fish completion of dynamo-fe", _FISH_BEHIND, "complete -c dynamo-fe -f"]
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
    for name in _forwarding(commands):
        condition = f"__fish_seen_subcommand_from {name}; and contains -- -- (commandline -opc)"
        lines.append(f"complete -c dynamo-fe -n '{condition}' -a '(__dynamo_fe_behind)'")
    return "\n".join(lines) + "\n"


def _fish_option(flag: str, option: Option, condition: str) -> str:
    name = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    value = ""
    if option.words:
        value = f" -x -a {_quoted(' '.join(option.words))}"
    elif option.operand:
        value = " -r -F" if _takes_path(option) else " -x"
    return f"complete -c dynamo-fe -n '{condition}' {name}{value} -d {_quoted(option.help)}"


def _takes_path(option: Option) -> bool:
    named = option.flags[-1].endswith(("-path", "-file", "-to", "-config", "--config"))
    return named or option.operand in ("FILE", "DIR")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
