"""What a check says."""

from typing import Literal, NamedTuple

Verdict = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """`remedy` is what to do about it, empty where there is nothing to do."""

    verdict: Verdict
    what: str
    text: str
    remedy: str = ""
