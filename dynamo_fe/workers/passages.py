"""The corpus in tokens: what the mock worker's answers are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

MODEL_DIR = Path(__file__).resolve().parent / "model"
CORPUS = MODEL_DIR / "corpus.txt"

_SENTENCE_END = re.compile(r"(?<=[.!?])(?= )")
_PARAGRAPH_BREAK = "\n\n"
_FENCE = "```"


class Sentence(msgspec.Struct, frozen=True):
    """Tokens that belong together; an answer may end after any of them, and start with those that `may_open` it."""

    tokens: list[int]
    starts_paragraph: bool
    may_open: bool


class Passages:
    """All sentences in their order, read as a ring: after the last paragraph comes the first.

    `special_ids`: tokens of the model that never stand in text, such as the marks of a chat's turns.
    """

    def __init__(
        self, sentences: list[Sentence], break_tokens: list[int], special_ids: frozenset[int] = frozenset()
    ) -> None:
        self.special_ids = special_ids
        self._sentences = sentences
        self._break_tokens = break_tokens
        self._openings = [index for index, sentence in enumerate(sentences) if sentence.may_open]

    def read_from(self, choice: int) -> Iterator[list[int]]:
        """Endless sentences from the paragraph that `choice` (any number from 0) falls on."""
        index = self._openings[choice % len(self._openings)]
        yield self._sentences[index].tokens
        while True:
            index = (index + 1) % len(self._sentences)
            sentence = self._sentences[index]
            yield [*self._break_tokens, *sentence.tokens] if sentence.starts_paragraph else sentence.tokens


def load_passages(tokenizer_path: Path, corpus_path: Path = CORPUS) -> Passages:
    """Encodes the corpus with a model's own tokenizer. Raises ValueError for a file that is none."""
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    except Exception as error:  # the library raises nothing more exact
        raise ValueError(f"{tokenizer_path} is no tokenizer: {error}") from error
    parts = list(_parts(corpus_path.read_text(encoding="utf-8").strip("\n")))
    texts = [text for text, _, _ in parts]
    encoded = tokenizer.encode_batch_fast([*texts, _PARAGRAPH_BREAK], add_special_tokens=False)
    *tokens, break_tokens = [encoding.ids for encoding in encoded]
    sentences = [Sentence(ids, starts, opens) for ids, (_, starts, opens) in zip(tokens, parts, strict=True)]
    added = tokenizer.get_added_tokens_decoder()
    return Passages(sentences, break_tokens, frozenset(number for number, token in added.items() if token.special))


def _parts(corpus: str) -> Iterator[tuple[str, bool, bool]]:
    """Sentences as (text, starts a paragraph, may open an answer).

    A paragraph with line breaks (code, lists, tables) stays in one piece, and no answer starts with it.
    """
    for paragraph in _join_fenced(corpus.split(_PARAGRAPH_BREAK)):
        if "\n" in paragraph:
            yield paragraph, True, False
        else:
            for index, sentence in enumerate(_SENTENCE_END.split(paragraph)):
                yield sentence, index == 0, index == 0


def _join_fenced(parts: Iterable[str]) -> Iterator[str]:
    """Puts code blocks that contain empty lines together again."""
    pending: list[str] = []
    for part in parts:
        pending.append(part)
        joined = _PARAGRAPH_BREAK.join(pending)
        if joined.count(_FENCE) % 2 == 0:
            yield joined
            pending = []
    if pending:
        yield _PARAGRAPH_BREAK.join(pending)
