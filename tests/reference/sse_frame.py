"""What cext/sse_frame.pyx does, in plain Python."""

import json

LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def json_string(text: str) -> bytes:
    escaped = json.dumps(text, ensure_ascii=False)
    for char, sequence in LINE_ENDS.items():
        escaped = escaped.replace(char, sequence)
    return escaped.encode("utf-8")


class TextFramer:
    def __init__(self, head: bytes, tail: bytes) -> None:
        self.head = head
        self.tail = tail

    def frame(self, text: str) -> bytes:
        return self.head + json_string(text) + self.tail
