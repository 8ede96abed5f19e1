"""Going on elsewhere with an answer that broke off: when that is possible, and what the next worker is asked.

Source of the rules: Dynamo 1.6.1's migration, which differs in the default of the limit alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from dynamo_fe.pipeline.prepare import Prepared
from dynamo_fe.protocol.worker_request import StopConditions, TextRequest, WorkerRequest

# 4 MiB: more than any context holds, so only a worker that never ends comes so far
_MOST_TOKENS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MigrationRules:
    """`limit` moves of a request, 0 for none, and none beyond `max_seq_len` tokens of prompt and answer (None: any)."""

    limit: int
    max_seq_len: int | None

    def received_limit(self, prepared: Prepared) -> int:
        """How many tokens of an answer are worth remembering for a move; negative when the request can never move.

        A constrained answer depends on a state that only its worker has, and of several choices none says where the
        others stand. Nobody can append tokens to a prompt that is given as text or as embeddings.
        """
        body = prepared.body
        tokens_alone = not isinstance(body, TextRequest) and body.prompt_embeds is msgspec.UNSET
        constrained = body.sampling_options.guided_decoding is not None
        if not self.limit or constrained or prepared.choices != 1 or not tokens_alone:
            return -1
        if self.max_seq_len is None:
            return _MOST_TOKENS
        return max(self.max_seq_len - len(body.token_ids), 0)


def continued(body: WorkerRequest, received: Sequence[int]) -> WorkerRequest:
    """The request for the rest of an answer of which `received` came; a limit that is used up is sent as 0."""
    if not received:
        return body
    said = len(received)
    stop = body.stop_conditions
    rest: StopConditions = msgspec.structs.replace(
        stop,
        max_tokens=None if stop.max_tokens is None else max(stop.max_tokens - said, 0),
        min_tokens=None if stop.min_tokens is None else max(stop.min_tokens - said, 0),
    )
    return msgspec.structs.replace(body, token_ids=[*body.token_ids, *received], stop_conditions=rest)
