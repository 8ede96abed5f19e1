"""Texts with URLs in them, for people to see: without the names, passwords and tokens."""

import re
from typing import Final

REDACTED: Final = "<REDACTED>"

# between the URLs of a list
_COMMA: Final = re.compile(r"(,\s*(?=[a-z][a-z0-9+.-]*://))", re.IGNORECASE)
# another word in front of :// may be part of a password
_SCHEMES: Final = ("nats", "tls", "http", "https", "ws", "wss")
_FLAG: Final = re.compile(r"--[\w-]+=")
_ADDRESS: Final = re.compile(r"([\w.-]+|\[[\w:.%]+\])(:\d+)?/?")


def without_logins(text: str, urls: bool = False) -> str:
    """Nothing of what stands before an @, as a password may hold any character, a comma and an @ as well (what looks
    like the next URL of a list counts as that). In `urls`, a list of URLs, one may lack its scheme; another text
    without any colon holds none.
    """
    if "@" not in text or not (urls or ":" in text):
        return text
    flag = _FLAG.match(text)
    start = flag.end() if flag is not None else 0
    pieces = _COMMA.split(text[start:])
    last = max(at for at, piece in enumerate(pieces) if "@" in piece)
    # before the last login there are addresses and logins, and of neither may a password's part be taken for another
    return text[:start] + "".join(
        _without_login(piece) if at % 2 == 0 and at <= last else piece for at, piece in enumerate(pieces)
    )


def _without_login(piece: str) -> str:
    scheme, separator, rest = piece.partition("://")
    before = f"{scheme}{separator}" if scheme.lower() in _SCHEMES else ""
    _, at, place = piece.rpartition("@")
    if at:
        return f"{before}{REDACTED}@{place}"
    return piece if _ADDRESS.fullmatch(rest or piece) else f"{before}{REDACTED}"
