"""Answers of the mock worker: the same for the same prompt, and cut by the request's own limits."""

import pytest
from tokenizers import Tokenizer

from dynamo_fe.workers.generator import Limits, make_answer, passage_choice, split_prompt
from dynamo_fe.workers.passages import CORPUS, MODEL_DIR, Passages, Sentence, load_passages

EOS = 999
# Two paragraphs: 1 2 3 | 4 5 and 6 7 8 9; 0 is the break between paragraphs.
RING = Passages(
    [
        Sentence([1, 2, 3], starts_paragraph=True, may_open=True),
        Sentence([4, 5], starts_paragraph=False, may_open=False),
        Sentence([6, 7, 8, 9], starts_paragraph=True, may_open=True),
    ],
    [0],
)


def answer(limits: Limits, usual_tokens: int = 4, choice: int = 0) -> tuple[list[int], str]:
    made = make_answer(RING, choice, limits, usual_tokens)
    return made.tokens, made.finish_reason


def test_ends_with_the_sentence_that_reaches_the_usual_length_and_says_eos() -> None:
    assert answer(Limits(100, eos_id=EOS)) == ([1, 2, 3, 4, 5, EOS], "stop")
    assert answer(Limits(100, eos_id=EOS), usual_tokens=3) == ([1, 2, 3, EOS], "stop")


def test_without_eos_id_the_natural_end_is_just_the_end() -> None:
    assert answer(Limits(100)) == ([1, 2, 3, 4, 5], "stop")


def test_starts_at_the_chosen_paragraph_and_reads_on_in_a_ring() -> None:
    assert answer(Limits(100), choice=1, usual_tokens=6) == ([6, 7, 8, 9, 0, 1, 2, 3], "stop")
    assert answer(Limits(100), choice=3, usual_tokens=1) == ([6, 7, 8, 9], "stop")


@pytest.mark.parametrize("length", [1, 2, 4])
def test_max_tokens_cuts(length: int) -> None:
    assert answer(Limits(length, eos_id=EOS)) == ([1, 2, 3, 4, 5][:length], "length")


def test_the_eos_token_counts_against_max_tokens() -> None:
    assert answer(Limits(5, eos_id=EOS)) == ([1, 2, 3, 4, 5], "length")
    assert answer(Limits(6, eos_id=EOS)) == ([1, 2, 3, 4, 5, EOS], "stop")


def test_min_tokens_puts_the_natural_end_off() -> None:
    assert answer(Limits(100, min_tokens=7, eos_id=EOS)) == ([1, 2, 3, 4, 5, 0, 6, 7, 8, 9, EOS], "stop")


def test_ignoring_eos_goes_on_to_the_length_limit() -> None:
    tokens, reason = answer(Limits(25, eos_id=EOS, ends_naturally=False))
    assert (len(tokens), reason) == (25, "length")
    assert EOS not in tokens


def test_a_stop_token_ends_the_answer_and_is_said() -> None:
    assert answer(Limits(100, stop_ids=frozenset({2, EOS}), eos_id=EOS)) == ([1, 2], "stop")


def test_a_stop_token_before_min_tokens_does_not_count() -> None:
    assert answer(Limits(100, min_tokens=3, stop_ids=frozenset({2, 4}))) == ([1, 2, 3, 4], "stop")


def test_a_stop_token_beyond_the_limit_does_not_count() -> None:
    assert answer(Limits(2, stop_ids=frozenset({3}))) == ([1, 2], "length")


def test_choice_depends_on_prompt_seed_and_index_and_nothing_else() -> None:
    same = passage_choice([1, 2, 3], 0, 0)
    assert same == passage_choice((1, 2, 3), 0, 0)
    assert len({same, passage_choice([1, 2, 4], 0, 0), passage_choice([1, 2, 3], 1, 0)}) == 3
    assert passage_choice([1, 2, 3], 0, 1) != same


def test_choice_is_the_same_in_every_process() -> None:
    assert passage_choice([10, 20, 30], 5, 0) == 7_564_740_870_677_874_189


def test_prompts_spread_over_the_corpus() -> None:
    passages = load_passages(MODEL_DIR / "tokenizer.json")
    beginnings = {tuple(make_answer(passages, passage_choice([n], 0, 0), Limits(8), 8).tokens) for n in range(500)}
    assert len(beginnings) > 40


def test_an_answer_never_starts_within_a_paragraph_or_with_code() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    passages = load_passages(MODEL_DIR / "tokenizer.json")
    paragraphs = CORPUS.read_text(encoding="utf-8").split("\n\n")
    for choice in range(60):
        text = tokenizer.decode(next(passages.read_from(choice)))
        assert any(paragraph.startswith(text) for paragraph in paragraphs)
        assert "\n" not in text


@pytest.mark.parametrize("got", range(1, 6))
def test_a_request_that_comes_with_a_part_of_its_answer_gets_the_rest(got: int) -> None:
    whole, reason = answer(Limits(100, eos_id=EOS))
    continued = make_answer(RING, 0, Limits(100, eos_id=EOS), 4, [70, 71, *whole[:got]])
    assert (continued.tokens, continued.finish_reason) == (whole[got:], reason)


def test_the_limits_of_a_continued_answer_count_from_where_it_goes_on() -> None:
    assert make_answer(RING, 0, Limits(2), 4, [1, 2]).tokens == [3, 4]
    assert make_answer(RING, 0, Limits(100, min_tokens=6), 4, [1, 2, 3]).tokens == [4, 5, 0, 6, 7, 8, 9]


def test_a_continued_answer_says_at_least_one_token() -> None:
    assert make_answer(RING, 0, Limits(100), 4, [1, 2, 3, 4, 5]).tokens == [0, 6, 7, 8, 9]


def test_what_only_looks_like_the_answer_is_not_skipped() -> None:
    assert make_answer(RING, 0, Limits(3), 4, [1, 2, 70]).tokens == [1, 2, 3]


def test_what_was_asked_ends_with_the_last_mark_of_the_chat() -> None:
    marks = frozenset({90, 91})
    assert split_prompt([90, 5, 91, 90, 6, 7], marks) == ([90, 5, 91, 90], [6, 7])
    assert split_prompt([90, 5, 6], marks) == ([90, 5, 6], [])
    assert split_prompt([5, 6], marks) == ([5, 6], [])
    assert split_prompt([], marks) == ([], [])
