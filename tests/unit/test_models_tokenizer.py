"""Encoding: which library when, what is done on the loop, what is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dynamo_fe.models import fast_encoders, selfcheck
from dynamo_fe.models.encoders import FastokensEncoder, HuggingFaceEncoder
from dynamo_fe.models.errors import TooManyTokens
from dynamo_fe.models.fast_encoders import FastEncoders
from dynamo_fe.models.selfcheck import verify_in_child
from dynamo_fe.models.tokenize_pool import TokenizePool
from dynamo_fe.models.tokenizer import TextTokenizer
from dynamo_fe.models.tokenizer_loading import load_tokenizer
from dynamo_fe.models.vocabulary import TableVocabulary, read_decode_table
from dynamo_fe.protocol.errors import RequestError
from tests.support.models import TINY_MODEL_DIR
from tests.support.tokenizers import LIBRARY_FAMILIES, byte_level

TINY = TINY_MODEL_DIR / "tokenizer.json"
LONG_TOKEN = {
    "id": 287,
    "content": "<" + "long" * 20 + ">",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
FAMILIES = {**LIBRARY_FAMILIES, "byte-level": byte_level}


def with_long_token(folder: Path) -> Path:
    """The tiny tokenizer with a token so long that a text's length says little of how many it has."""
    path = folder / "tokenizer.json"
    whole = json.loads(TINY.read_text())
    path.write_text(json.dumps(whole | {"added_tokens": [*whole["added_tokens"], LONG_TOKEN]}))
    return path


@pytest.fixture
async def pool() -> AsyncIterator[TokenizePool]:
    opened = TokenizePool(threads=1, inline_bytes=64, queue_limit=2)
    yield opened
    opened.close()


@pytest.mark.parametrize(("busy", "large"), [(False, True), (True, False), (True, True)])
async def test_auto_ends_with_fastokens(pool: TokenizePool, tmp_path: Path, busy: bool, large: bool) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(TINY.read_text() + " " * (600_000 * large))
    tokenizer = await load_tokenizer(path, "auto", pool, FastEncoders(), busy)
    # only a large file would hold up what is served already
    assert tokenizer.library == ("fastokens" if busy and large else "tokenizers")
    assert await tokenizer.encode("hello world</s>") == [275, 280, 1]
    await tokenizer.settled()
    assert tokenizer.library == "fastokens"
    assert await tokenizer.encode("hello world</s>") == [275, 280, 1]


@pytest.mark.parametrize(("mode", "library"), [("default", "tokenizers"), ("fastokens", "fastokens")])
async def test_a_named_library_is_used_at_once(pool: TokenizePool, mode: str, library: str) -> None:
    tokenizer = await load_tokenizer(TINY, mode, pool, FastEncoders(), busy=False)
    assert tokenizer.library == library
    await tokenizer.settled()
    assert tokenizer.library == library
    assert tokenizer.vocab_size == 287


@pytest.mark.parametrize("mode", ["default", "fastokens"])
async def test_a_long_text_with_too_many_tokens_is_counted(pool: TokenizePool, mode: str) -> None:
    tokenizer = await load_tokenizer(TINY, mode, pool, FastEncoders(), busy=False)
    text = "hello world" * 400
    ids = await tokenizer.encode(text)
    assert await tokenizer.encode(text, most_tokens=len(ids)) == ids
    with pytest.raises(TooManyTokens) as caught:
        await tokenizer.encode(text, most_tokens=len(ids) - 1)
    assert caught.value.count == len(ids)


@pytest.mark.parametrize("mode", ["default", "fastokens"])
async def test_a_text_far_too_long_is_found_out_by_its_beginning(
    pool: TokenizePool, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = await load_tokenizer(with_long_token(tmp_path), mode, pool, FastEncoders(), busy=False)
    encoder = FastokensEncoder if mode == "fastokens" else HuggingFaceEncoder
    count_off_loop, lengths = encoder.count_off_loop, list[int]()

    def measured(self: Any, text: str) -> int:
        lengths.append(len(text))
        return count_off_loop(self, text)

    monkeypatch.setattr(encoder, "count_off_loop", measured)
    with pytest.raises(TooManyTokens) as caught:
        await tokenizer.encode("one word " * 100_000, most_tokens=20_000)
    assert not caught.value.exact and caught.value.count > 20_000
    assert lengths == [1 << 18]


@pytest.mark.parametrize("mode", ["default", "fastokens"])
async def test_a_text_of_long_tokens_may_be_longer_than_most(pool: TokenizePool, tmp_path: Path, mode: str) -> None:
    tokenizer = await load_tokenizer(with_long_token(tmp_path), mode, pool, FastEncoders(), busy=False)
    text = str(LONG_TOKEN["content"]) * 300
    assert await tokenizer.encode(text, most_tokens=300) == [LONG_TOKEN["id"]] * 300
    with pytest.raises(TooManyTokens):
        await tokenizer.encode(text, most_tokens=299)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
async def test_every_family_in_every_mode(pool: TokenizePool, tmp_path: Path, family: str, busy: bool) -> None:
    reference = FAMILIES[family]()
    path = tmp_path / "tokenizer.json"
    reference.save(str(path))
    text = "hello world, the quick brown fox <tool> café 1"
    expected = reference.encode(text, add_special_tokens=False).ids
    for mode in ("auto", "default", "fastokens"):
        tokenizer = await load_tokenizer(path, mode, pool, FastEncoders(), busy)
        await tokenizer.settled()
        assert await tokenizer.encode(text) == expected
        decoder = tokenizer.decoder(True, [])
        assert "".join(decoder.push([i]) for i in expected) + decoder.flush() == reference.decode(expected)
        assert tokenizer.vocab_size == reference.get_vocab_size()
        assert (read_decode_table(path) is not None) == (family == "byte-level")


@pytest.mark.parametrize("family", ["unigram", "wordpiece"])
async def test_tokenizers_stays_where_fastokens_refuses(pool: TokenizePool, tmp_path: Path, family: str) -> None:
    path = tmp_path / "tokenizer.json"
    FAMILIES[family]().save(str(path))
    tokenizer = await load_tokenizer(path, "auto", pool, FastEncoders(), busy=False)
    await tokenizer.settled()
    assert tokenizer.library == "tokenizers"
    verdict = await verify_in_child(path)
    assert not verdict.equal and "refuses" in verdict.detail


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck.FastokensEncoder, "encode", lambda self, text, special: [0])
    assert "differ" in selfcheck.find_difference(TINY)


def test_the_check_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.nice", lambda increment: 0)
    assert selfcheck.main([str(TINY)]) == 0
    assert selfcheck.main(["/nowhere/tokenizer.json"]) == 2
    assert selfcheck.main([]) == 2
    assert "equal" in capsys.readouterr().out


async def test_a_check_that_cannot_be_started_counts_as_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert not (await verify_in_child(TINY)).equal


async def test_models_that_share_a_tokenizer_share_its_check(
    pool: TokenizePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    async def verify(path: Path) -> selfcheck.Verdict:
        events.append("begin")
        await asyncio.sleep(0)
        events.append("end")
        return selfcheck.Verdict(True, "equal")

    monkeypatch.setattr(fast_encoders, "verify_in_child", verify)
    shared = FastEncoders()
    paths = [tmp_path / f"{number}.json" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_text(TINY.read_text() + " " * (number % 2))
    opened = await asyncio.gather(*(load_tokenizer(path, "auto", pool, shared, busy=False) for path in paths))
    await asyncio.gather(*(tokenizer.settled() for tokenizer in opened))
    assert [tokenizer.library for tokenizer in opened] == ["fastokens"] * 6
    assert events == ["begin", "end"] * 2
    encoders = {id(await shared.of(path, verified=True)) for path in paths}
    assert len(encoders) == 2


async def test_a_takeover_under_way_ends_with_the_model(pool: TokenizePool) -> None:
    tokenizer = await load_tokenizer(TINY, "auto", pool, FastEncoders(), busy=False)
    tokenizer.close()
    await tokenizer.settled()
    assert tokenizer.library == "tokenizers"
    tokenizer.close()


async def test_special_tokens_only_when_asked(pool: TokenizePool, tmp_path: Path) -> None:
    parsed = json.loads(TINY.read_text())
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    parsed["post_processor"] = {
        "type": "TemplateProcessing",
        "single": template,
        "pair": [*template, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parsed))
    for mode in ("default", "fastokens"):
        tokenizer = await load_tokenizer(path, mode, pool, FastEncoders(), busy=False)
        assert await tokenizer.encode("hello") == [275]
        assert await tokenizer.encode("hello", add_special_tokens=True) == [0, 275]


async def test_single_tokens(pool: TokenizePool) -> None:
    tokenizer = await load_tokenizer(TINY, "default", pool, FastEncoders(), busy=False)
    assert tokenizer.token_text(275) == "hello"
    assert (tokenizer.token_bytes(16 + 0xE2), tokenizer.token_text(16 + 0xE2)) == (b"\xe2", "\ufffd")
    assert tokenizer.token_text(5) == "<|end|>" and tokenizer.is_special(5) and not tokenizer.is_special(6)
    assert tokenizer.token_text(10_000) == ""


class BlockedEncoder:
    """Encodes off the loop only when let."""

    library = "blocked"
    inline_factor = 1
    warm_up_off_loop = False
    caches_by_thread = False

    def __init__(self) -> None:
        self.go = threading.Event()
        self.threads: set[int] = set()

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        self.threads.add(threading.get_ident())
        return [len(text)]

    def encode_off_loop(self, text: str, add_special_tokens: bool, most_tokens: int) -> list[int]:
        self.go.wait(30)
        return self.encode(text, add_special_tokens)


@pytest.fixture
def blocked(pool: TokenizePool) -> tuple[TextTokenizer, BlockedEncoder]:
    table = read_decode_table(TINY)
    assert table is not None
    encoder = BlockedEncoder()
    return TextTokenizer(encoder, TableVocabulary(table), pool), encoder


async def test_short_texts_are_encoded_here_and_long_ones_elsewhere(
    blocked: tuple[TextTokenizer, BlockedEncoder],
) -> None:
    tokenizer, encoder = blocked
    assert await tokenizer.encode("x" * 64) == [64]
    assert encoder.threads == {threading.get_ident()}
    encoder.threads.clear()
    encoder.go.set()
    assert await tokenizer.encode("x" * 65) == [65]
    # 60 bytes in 22 characters are short, 66 are not
    assert await tokenizer.encode("語" * 22) == [22]
    assert threading.get_ident() not in encoder.threads


async def test_too_many_long_texts_are_refused_and_room_comes_back(
    blocked: tuple[TextTokenizer, BlockedEncoder], pool: TokenizePool
) -> None:
    tokenizer, encoder = blocked
    waiting = [asyncio.create_task(tokenizer.encode("x" * 100)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RequestError) as refused:
        await tokenizer.encode("x" * 100)
    assert refused.value.error_class == "CapacityExhausted"
    assert await tokenizer.encode("short") == [5]
    encoder.go.set()
    assert await asyncio.gather(*waiting) == [[100], [100]]
    async with asyncio.timeout(10):
        while pool.in_hand:
            await asyncio.sleep(0)
    assert await tokenizer.encode("x" * 100) == [100]


async def test_a_caller_that_gives_up_makes_no_room_while_its_text_is_being_encoded(
    blocked: tuple[TextTokenizer, BlockedEncoder], pool: TokenizePool
) -> None:
    tokenizer, encoder = blocked
    task = asyncio.create_task(tokenizer.encode("x" * 100))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.in_hand == 1
    encoder.go.set()
    async with asyncio.timeout(10):
        while pool.in_hand:
            await asyncio.sleep(0)


def test_the_comparison_does_not_outlive_who_asked_for_it() -> None:
    """Who asked may be gone before it has begun."""
    command = [sys.executable, "-m", "dynamo_fe", selfcheck.COMMAND]
    for asked_by, code in ((1, -signal.SIGKILL), (os.getpid(), 0)):
        done = subprocess.run([*command, str(asked_by), str(TINY)], stdout=subprocess.PIPE)
        assert done.returncode == code
