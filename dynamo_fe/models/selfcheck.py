"""Does fastokens encode exactly as tokenizers, and our decode table decode so, with this file?

Run in a process of its own (`verify_in_child`): the comparison needs both libraries, hundreds of MB and seconds of the
processor, none of which a serving process should lose.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynamo_fe.models.encoders import FastokensEncoder, load_hugging_face
from dynamo_fe.models.errors import CardError
from dynamo_fe.models.vocabulary import read_decode_table
from dynamo_fe.ops.child_process import output_of

COMMAND: Final = "_tokenizer-check"

_EQUAL: Final = 0
_DIFFERENT: Final = 1
_REFUSED: Final = 2
_MOST_SECS: Final = 120.0
_VOCABULARY_SAMPLES: Final = 4000
_RANDOM_TEXTS: Final = 400

_TEXTS: Final = (
    "Hello, world! It's 3.14159 o'clock; we'll see they've come, I'd say - don't you?",
    "HELLO WORLD'S SHOUTING, CamelCaseWords snake_case_words kebab-case-words x1y2z3",
    "1 12 123 1234 12345 123456 1234567 1,234,567.89 0x1F 1e-9 ½ ² ① Ⅷ ٣",
    'def f(x: int) -> str:\n    if x % 2 == 0:\n\t\treturn f"{x!r}\\n"\n    # comment\n\n\n    return None\r\n',
    '<div class="a">&nbsp;</div>\n{"key": [1, 2.5, null, true, "\\u00e9"]}\n```python\nprint(\'hi\')\n```\n',
    "SELECT * FROM t WHERE a>=1 && b!=2 || c<<3; /* note */ // end $VAR ${HOME} #!/bin/sh ...---===***",
    "  two  three   four    \t tab\t\ttabs\n\nlines\n \n  \r\n\r\n end   ",
    "\u00a0no-break\u2003em\u3000ideographic\u200bzero\u200d\ufeffbom\u2028line\u2029paragraph\x85next\x0b\x0c",
    "Ünïcödé naïve café e\u0301 n\u0303 ﬁ ﬀ ǆ ß ẞ İ ı Ångström \u212b Ω \u2126",
    "Русский текст, ёлка. Ελληνικά. עברית. العربية ١٢٣. हिन्दी क्षि. ไทยภาษา. ქართული. አማርኛ.",
    "中文字符，标点。日本語テキスト、カタカナ・ひらがな。한국어 텍스트. 𠀀𠮷 繁體",
    "😀😃 👍🏽 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪🇫🇷 ❤️ ©️ ™ ☃ 1️⃣",
    "\x00\x01\x02\x1b[31m\x7f\x80 control \ufffd \U0010ffff \ue000",
    "a" * 700 + " " * 130 + "!" * 300 + "\n" * 70 + "ab" * 300,
    "'s 't 're 've 'm 'll 'd 'S 'T 'LL ’s \"quoted\" «guillemets» —dash– …",
    "https://example.org/path?q=1&x=%20y#frag user@example.org C:\\dir\\file.txt 2024-01-31T12:34:56Z",
    "",
    " ",
    "\n",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether both libraries agree, and what was seen."""

    equal: bool
    detail: str


def main(argv: Sequence[str]) -> int:
    """``[path of a tokenizer.json]`` → 0: equal, 1: different, 2: cannot be compared. The reason goes to stdout."""
    if len(argv) != 1:
        print("one path is expected")
        return _REFUSED
    os.nice(10)
    try:
        difference = find_difference(Path(argv[0]))
    except CardError as failure:
        print(failure)
        return _REFUSED
    print(difference or "equal")
    return _DIFFERENT if difference else _EQUAL


def find_difference(path: Path) -> str:
    """The first difference between the libraries, "" if there is none.

    Raises:
        CardError: one of them refuses the file.
    """
    fast = FastokensEncoder(path)
    reference = load_hugging_face(path).tokenizer
    texts = list(_texts([token.content for token in reference.get_added_tokens_decoder().values()]))
    size = reference.get_vocab_size(with_added_tokens=True)
    step = max(1, size // _VOCABULARY_SAMPLES)
    texts += [reference.decode([i], skip_special_tokens=False) for i in range(0, size, step)]
    for add_special_tokens in (False, True):
        expected = reference.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        for text, encoding in zip(texts, expected, strict=True):
            inline = fast.encode(text, add_special_tokens)
            off_loop = fast.encode_off_loop(text, add_special_tokens, sys.maxsize)
            if not inline == off_loop == encoding.ids:
                return f"the ids of {text[:80]!r} differ"
    table = read_decode_table(path)
    if table is not None:
        for token_id in range(max(size, len(table))):
            text = reference.decode([token_id], skip_special_tokens=False)
            if table.token_bytes(token_id).decode("utf-8", "replace") != text:
                return f"the text of token {token_id} differs"
            if table.is_special(token_id) and reference.decode([token_id], skip_special_tokens=True):
                return f"token {token_id} is special in one only"
    return ""


def _texts(added: Sequence[str]) -> Iterator[str]:
    yield from _TEXTS
    for content in added:
        yield from (content, f"a{content}b", f" {content} {content}\n", content[:-1], f"{content}{content}1")
    rng = random.Random(20240131)
    pieces = [piece for text in _TEXTS for piece in text.split(" ")] + list(added[:64])
    alphabet = "".join(_TEXTS)
    for _ in range(_RANDOM_TEXTS):
        joint = rng.choice((" ", "", "\n", "  ", "\t"))
        yield joint.join(rng.choices(pieces, k=rng.randrange(1, 40)))
        yield "".join(rng.choices(alphabet, k=rng.randrange(1, 80)))


async def verify_in_child(path: Path) -> Verdict:
    """Run the comparison in a process of its own and wait for it; one that cannot be run counts as not equal."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "dynamo_fe"]
    # told whose it is: its parent may be gone when it can ask
    command = [*program, COMMAND, str(os.getpid()), str(path)]
    # the child finds the package where this process found it
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        code, output = await output_of(command, environment, _MOST_SECS, stderr=subprocess.DEVNULL)
    except TimeoutError:
        return Verdict(False, f"the comparison took more than {_MOST_SECS:g} s")
    except OSError as failure:
        return Verdict(False, f"the comparison cannot be started: {failure}")
    detail = output.decode(errors="replace").strip() or f"exit code {code}"
    return Verdict(code == _EQUAL, detail)
