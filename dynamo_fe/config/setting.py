"""One row of the table of settings, and the words in which the groups under `config/groups/` write their rows.

Each word returns a dataclass field that carries its row in the metadata, and is typed as the value the field will hold:
the declaration of a setting is at once its row (flags, variable, default, range, help) and its typed attribute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dynamo_fe.config.forms import Form

Value = str | int | float | bool | tuple[str, ...] | None
Kind = Literal["text", "choice", "switch", "whole", "real", "words"]

# active: has its effect. pending: accepted, no effect yet, named in a warning when set. ignored-deprecated: the
# original ignores it as well.
Status = Literal["active", "pending", "ignored-deprecated"]

METADATA_KEY: Final = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what it is called, where it is read from, what it may hold.

    `low` and `high` are inclusive bounds of a number, `form` is that of a text or of each text in a list. `stand_ins`
    maps a choice whose feature is not there yet to the choice served in its place; `refused_choices` are those without
    a truthful substitute. `lenient`: a variable that is no whole number from 0 is as good as not set, as in the
    original.
    """

    kind: Kind
    default: Value
    flags: tuple[str, ...]
    variable: str | None
    help: str
    optional: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    form: Form | None = None
    status: Status = "active"
    stand_ins: Mapping[str, str] | None = None
    refused_choices: tuple[str, ...] = ()
    secret: bool = False
    lenient: bool = False
    name: str = ""
    group: str = ""

    @property
    def label(self) -> str:
        """The name an operator knows it by: its flag, else its variable."""
        return self.flags[-1] if self.flags else self.variable or self.name


def _field(setting: Setting) -> Any:
    return field(default=setting.default, repr=not setting.secret, metadata={METADATA_KEY: setting})


def text(
    default: str, *flags: str, env: str | None = None, help: str, form: Form | None = None, status: Status = "active"
) -> str:
    result: str = _field(Setting("text", default, flags, env, help, form=form, status=status))
    return result


def optional_text(
    *flags: str,
    env: str | None = None,
    help: str,
    form: Form | None = None,
    status: Status = "active",
    secret: bool = False,
) -> str | None:
    row = Setting("text", None, flags, env, help, optional=True, form=form, status=status, secret=secret)
    result: str | None = _field(row)
    return result


def choice(
    default: str,
    choices: Sequence[str],
    *flags: str,
    env: str | None = None,
    help: str,
    status: Status = "active",
    stand_ins: Mapping[str, str] | None = None,
    refused: Sequence[str] = (),
) -> str:
    row = Setting("choice", default, flags, env, help, choices=tuple(choices), status=status, stand_ins=stand_ins,
                  refused_choices=tuple(refused))  # fmt: skip
    result: str = _field(row)
    return result


def optional_choice(
    choices: Sequence[str], *flags: str, env: str | None = None, help: str, status: Status = "active"
) -> str | None:
    row = Setting("choice", None, flags, env, help, optional=True, choices=tuple(choices), status=status)
    result: str | None = _field(row)
    return result


def switch(default: bool, *flags: str, env: str | None = None, help: str, status: Status = "active") -> bool:
    """A yes or no. Every long flag `--x` has its `--no-x`."""
    result: bool = _field(Setting("switch", default, flags, env, help, status=status))
    return result


def whole(
    default: int,
    *flags: str,
    env: str | None = None,
    help: str,
    low: int | None = 0,
    high: int | None = None,
    status: Status = "active",
) -> int:
    result: int = _field(Setting("whole", default, flags, env, help, low=low, high=high, status=status))
    return result


def optional_whole(
    *flags: str,
    env: str | None = None,
    help: str,
    low: int | None = 0,
    high: int | None = None,
    status: Status = "active",
    lenient: bool = False,
) -> int | None:
    row = Setting("whole", None, flags, env, help, optional=True, low=low, high=high, status=status, lenient=lenient)
    result: int | None = _field(row)
    return result


def real(
    default: float,
    *flags: str,
    env: str | None = None,
    help: str,
    low: float | None = 0.0,
    high: float | None = None,
    status: Status = "active",
) -> float:
    result: float = _field(Setting("real", default, flags, env, help, low=low, high=high, status=status))
    return result


def optional_real(
    *flags: str,
    env: str | None = None,
    help: str,
    low: float | None = 0.0,
    high: float | None = None,
    status: Status = "active",
) -> float | None:
    row = Setting("real", None, flags, env, help, optional=True, low=low, high=high, status=status)
    result: float | None = _field(row)
    return result


def words(
    *flags: str, env: str | None = None, help: str, form: Form | None = None, status: Status = "active"
) -> tuple[str, ...]:
    """A list: the flag may be repeated, the variable holds words with white space between them."""
    result: tuple[str, ...] = _field(Setting("words", (), flags, env, help, form=form, status=status))
    return result
