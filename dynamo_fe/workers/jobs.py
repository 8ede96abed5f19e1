"""From a request to a job: limits, choices, script, fault."""

from __future__ import annotations

from dynamo_fe.workers.engine import Job
from dynamo_fe.workers.faults import FaultKind, too_long_error
from dynamo_fe.workers.generator import Limits, make_answer, passage_choice, split_prompt
from dynamo_fe.workers.kv_blocks import KvBlocks
from dynamo_fe.workers.options import MockOptions
from dynamo_fe.workers.passages import Passages
from dynamo_fe.workers.playback import AnswerPlayback, FaultyPlayback, Playback, ScriptPlayback, Sink
from dynamo_fe.workers.request import TokenRequest

# Bounds an answer that nothing else bounds: no context length is known, no max_tokens given, eos ignored.
LONGEST_ANSWER_TOKENS = 32768


class RefusedRequest(ValueError):
    """The request asks for something that cannot be answered; said in the prologue."""


class JobMaker:
    """Makes jobs as the options say. `context_length` in tokens, 0 = no limit."""

    def __init__(self, options: MockOptions, passages: Passages, blocks: KvBlocks, context_length: int) -> None:
        self._options = options
        self._passages = passages
        self._blocks = blocks
        self._context_length = context_length

    def make(self, request: TokenRequest, sink: Sink, fault: FaultKind | None) -> Job:
        """Raises `RefusedRequest`."""
        if request.stop_conditions.max_tokens == 0:
            raise RefusedRequest("live requests must generate at least one output token")
        prompt = request.token_ids
        room = self._room(len(prompt))
        if room <= 0 or not self._blocks.fits(len(prompt)):
            limit = self._context_length or self._blocks.total_blocks * self._blocks.block_tokens
            return Job([], ScriptPlayback([{"!error": too_long_error(len(prompt), limit)}]), sink)
        script = self._options.say
        playback: Playback = self._answers(request, room) if script is None else ScriptPlayback(script)
        if fault is not None:
            playback = FaultyPlayback(playback, fault, self._options.stall_secs)
        return Job(prompt, playback, sink, self._rank(request))

    def _rank(self, request: TokenRequest) -> int | None:
        """The rank that was asked for, if it is one."""
        wanted = request.routing.dp_rank if request.routing is not None else None
        return wanted if wanted is not None and wanted < self._options.data_parallel_size else None

    def _room(self, prompt_tokens: int) -> int:
        """Tokens that an answer may have."""
        return self._context_length - prompt_tokens if self._context_length else LONGEST_ANSWER_TOKENS

    def _answers(self, request: TokenRequest, room: int) -> AnswerPlayback:
        stop, options = request.stop_conditions, self._options
        sampling_seed = request.sampling_options.seed
        limits = Limits(
            length_tokens=room if stop.max_tokens is None else min(stop.max_tokens, room),
            min_tokens=stop.min_tokens or 0,
            stop_ids=_stop_ids(request),
            eos_id=request.eos_token_ids[0] if request.eos_token_ids else None,
            ends_naturally=not stop.ignore_eos,
        )
        seed = options.seed if sampling_seed is None else sampling_seed
        asked, rest = split_prompt(request.token_ids, self._passages.special_ids)
        answers = [
            make_answer(self._passages, passage_choice(asked, seed, index), limits, options.answer_tokens, rest)
            for index in range(request.sampling_options.n or 1)
        ]
        return AnswerPlayback(answers, len(request.token_ids), options.tokens_per_item)


def _stop_ids(request: TokenRequest) -> frozenset[int]:
    stop = request.stop_conditions
    ids = [*(stop.stop_token_ids or ()), *(stop.stop_token_ids_hidden or ())]
    if not stop.ignore_eos:
        ids += request.eos_token_ids
    return frozenset(ids)
