"""What a request is answered with: a passage of the corpus, cut by the request's own limits. No clock, no sockets."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import msgspec

from dynamo_fe.workers.passages import Passages


class Limits(msgspec.Struct, frozen=True):
    """What ends an answer. `length_tokens`: the bound of finish reason "length"; before `min_tokens` nothing else ends
    it. `stop_ids` end it where they appear; `eos_id` is said at the natural end. `ends_naturally` is False when the
    client ignores eos.
    """

    length_tokens: int
    min_tokens: int = 0
    stop_ids: frozenset[int] = frozenset()
    eos_id: int | None = None
    ends_naturally: bool = True


class Answer(msgspec.Struct, frozen=True):
    """All tokens of one choice, and the finish reason that follows them."""

    tokens: list[int]
    finish_reason: str


def passage_choice(prompt: Sequence[int], seed: int, index: int) -> int:
    """A number that depends on nothing but prompt, seed and choice index: the same in every process."""
    digest = hashlib.blake2b(array("Q", prompt).tobytes(), digest_size=8)
    digest.update(b"%d/%d" % (seed, index))
    return int.from_bytes(digest.digest(), "big")


def split_prompt(prompt: list[int], special_ids: frozenset[int]) -> tuple[list[int], list[int]]:
    """(what was asked, the rest): in a chat the rest begins after the mark that opens the assistant's turn.

    A request that moves here from a lost worker comes with the tokens it has already got at the end of its prompt.
    Choosing the passage by what was asked alone lets the answer go on where it broke off.
    """
    for index in range(len(prompt) - 1, 0, -1):
        if prompt[index] in special_ids:
            return prompt[: index + 1], prompt[index + 1 :]
    return prompt, []


def make_answer(passages: Passages, choice: int, limits: Limits, usual_tokens: int, rest: Sequence[int] = ()) -> Answer:
    """An answer of about `usual_tokens`: it ends with the first sentence that reaches them, if nothing ends it before.

    Where the end of `rest` is the beginning of the answer, only what follows it is said, and the limits count from
    there. `limits.length_tokens` must be at least 1.
    """
    said = _said_before(passages, choice, rest)
    # An end without an eos token needs a token to be the end of.
    least = said + (limits.eos_id is None)
    wanted = max(usual_tokens, said + limits.min_tokens, least)
    tokens, ended = _natural(passages, choice, limits, wanted, said)
    stop_at = _first_stop(tokens, limits)
    if stop_at is not None and stop_at <= limits.length_tokens:
        return Answer(tokens[:stop_at], "stop")
    if ended and limits.eos_id is not None:
        tokens.append(limits.eos_id)
    if not ended or len(tokens) > limits.length_tokens:
        return Answer(tokens[: limits.length_tokens], "length")
    return Answer(tokens, "stop")


def _natural(passages: Passages, choice: int, limits: Limits, wanted: int, said: int) -> tuple[list[int], bool]:
    """The passage after `said` tokens up to its natural end (then True), or to the length limit and beyond."""
    tokens: list[int] = []
    for sentence in passages.read_from(choice):
        tokens += sentence
        if len(tokens) >= said + limits.length_tokens:
            return tokens[said:], False
        if limits.ends_naturally and len(tokens) >= wanted:
            return tokens[said:], True
    raise AssertionError("passages never end")


def _said_before(passages: Passages, choice: int, rest: Sequence[int]) -> int:
    """How many tokens of the passage stand at the end of `rest`."""
    if not rest:
        return 0
    passage: list[int] = []
    for sentence in passages.read_from(choice):
        passage += sentence
        if len(passage) >= len(rest):
            break
    first, whole = passage[0], list(rest)
    for count in range(len(whole), 0, -1):
        if whole[-count] == first and whole[-count:] == passage[:count]:
            return count
    return 0


def _first_stop(tokens: list[int], limits: Limits) -> int | None:
    """The number of tokens up to and with the first stop token that counts."""
    if limits.stop_ids.isdisjoint(tokens):
        return None
    for count, token in enumerate(tokens, 1):
        if token in limits.stop_ids and count >= limits.min_tokens:
            return count
    return None
