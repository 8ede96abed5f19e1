"""Keys of so many parts that the parser of TOML would be held up by them.

Its time for one grows with the square of the parts: 50000 of them take a minute.
"""

import re
from typing import Final

MOST_PARTS: Final = 16

_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?)"""
_NEXT_PART: Final = rf"[ \t]*\.[ \t]*{_PART}"
# Comments and texts of many lines are taken whole: what looks like a key in them is none. Each character is looked at
# once, whatever the text.
_TOKEN: Final = re.compile(
    r"#[^\n]*+"
    r'|"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*+(?:"""|\Z)'
    r"|'''[^']*+(?:'(?!'')[^']*+)*+(?:'''|\Z)"
    rf"|{_PART}(?:{_NEXT_PART}){{0,{MOST_PARTS - 1}}}+(?P<more>{_NEXT_PART})?",
    re.DOTALL,
)


def line_of_long_key(text: str) -> int | None:
    """The line of the first key with more than `MOST_PARTS` parts, be it of a value, a table or within braces."""
    for token in _TOKEN.finditer(text):
        if token["more"] is not None:
            return text.count("\n", 0, token.start()) + 1
    return None
