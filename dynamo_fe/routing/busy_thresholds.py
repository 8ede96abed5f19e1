"""From which load on a worker counts as busy, for each model. Kept here, shown and changed over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import orjson

from dynamo_fe.routing.threshold_board import ThresholdBoard


@dataclass(frozen=True, slots=True)
class BusyThreshold:
    """One model's thresholds; None turns one off. `active_decode_blocks_threshold` is a share of the worker's KV
    blocks, `active_prefill_tokens_threshold` counts tokens, its `_frac` is a multiple of the worker's largest batch.
    """

    active_decode_blocks_threshold: float | None = None
    active_prefill_tokens_threshold: int | None = None
    active_prefill_tokens_threshold_frac: float | None = None

    @property
    def any(self) -> bool:
        """Whether one is on."""
        return not (
            self.active_decode_blocks_threshold is None
            and self.active_prefill_tokens_threshold is None
            and self.active_prefill_tokens_threshold_frac is None
        )


class BusyThresholds:
    """The thresholds by model name; those of the settings for a model whose own were never set. `on_change` is told of
    every change, also of one that another process of the host was asked for.
    """

    def __init__(self, default: BusyThreshold, board: ThresholdBoard) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._default = default
        self._board = board
        self._seen = board.version
        self._own: dict[str, BusyThreshold] = {}
        self._take()

    @property
    def looks_at_blocks(self) -> bool:
        """Whether it matters to any model how many blocks its workers use."""
        every = (self._default, *self._own.values())
        return any(each.active_decode_blocks_threshold is not None for each in every)

    def of(self, model: str) -> BusyThreshold:
        """What holds for that model now."""
        if self._board.version != self._seen and self._take():
            self.on_change()
        return self._own.get(model, self._default)

    def change(self, model: str, given: BusyThreshold) -> BusyThreshold:
        """Sets the thresholds that are given, leaves the others as they were, and returns what holds now.

        Raises ValueError: so many models have thresholds of their own that no more can be kept.
        """

        def edit(text: bytes) -> bytes:
            own = _parse(text)
            before = own.get(model, self._default)
            kept = {name: value for name, value in asdict(given).items() if value is not None}
            own[model] = replace(before, **kept)
            return orjson.dumps({name: asdict(threshold) for name, threshold in own.items()})

        self._board.change(edit)
        return self.of(model)

    def _take(self) -> bool:
        found = self._board.read()
        if found is None:
            return False
        self._seen, text = found
        self._own = _parse(text)
        return True


def _parse(text: bytes) -> dict[str, BusyThreshold]:
    return {name: BusyThreshold(**threshold) for name, threshold in orjson.loads(text or b"{}").items()}
