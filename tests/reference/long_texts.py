"""What cext/long_texts.pyx does, in plain Python."""

import json
import re

MOST_TEXTS = 64
STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
KEY = re.compile(rb"[ \n\t\r]*:")


def lift_texts(body: bytes, least_bytes: int, mark: bytes) -> tuple[bytes, list[str]]:
    """Only for bodies that are JSON but for the inside of their strings."""
    rest, texts, at = b"", [], 0
    for string in STRING.finditer(body):
        if len(string[1]) < least_bytes or KEY.match(body, string.end()) or len(texts) == MOST_TEXTS:
            continue
        try:
            text: str = json.loads(string[0])
            text.encode()
        except ValueError:
            continue
        rest += body[at : string.start(1)] + b"%b%d" % (mark, len(texts))
        texts.append(text)
        at = string.end(1)
    return rest + body[at:], texts
