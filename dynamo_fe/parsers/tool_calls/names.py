"""What may be a function's name."""

from __future__ import annotations

import re
from typing import Final

from dynamo_fe.parsers.feed import Unreadable

# OpenAI allows 64 characters of a function's name, Dynamo 128; MCP servers prefix their own.
MOST_NAME: Final = 256
_NAME: Final = re.compile(r"""[^\s<>{}\[\]()"'`,;]+""")


def checked_name(text: str) -> str:
    """The name without blanks around it. Raises Unreadable for what no function is called."""
    name = text.strip()
    if len(name) > MOST_NAME or not _NAME.fullmatch(name) or not name.isprintable():
        raise Unreadable
    return name
