"""From which load on a worker counts as busy, for each model. Kept here, shown and changed over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BusyThreshold:
    """One model's thresholds; None turns one off. `active_decode_blocks_threshold` is a share of the worker's KV
    blocks, `active_prefill_tokens_threshold` counts tokens, its `_frac` is a multiple of the worker's largest batch.
    """

    active_decode_blocks_threshold: float | None = None
    active_prefill_tokens_threshold: int | None = None
    active_prefill_tokens_threshold_frac: float | None = None


class BusyThresholds:
    """The thresholds by model name; those of the settings for a model whose own were never set. `on_change` is told of
    every change.
    """

    def __init__(self, default: BusyThreshold) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._default = default
        self._own: dict[str, BusyThreshold] = {}

    @property
    def looks_at_blocks(self) -> bool:
        """Whether it matters to any model how many blocks its workers use."""
        every = (self._default, *self._own.values())
        return any(each.active_decode_blocks_threshold is not None for each in every)

    def of(self, model: str) -> BusyThreshold:
        """What holds for that model now."""
        return self._own.get(model, self._default)

    def change(self, model: str, given: BusyThreshold) -> BusyThreshold:
        """Sets the thresholds that are given, leaves the others as they were, and returns what holds now."""
        before = self.of(model)
        decode, tokens, share = (
            getattr(before if getattr(given, name) is None else given, name) for name in BusyThreshold.__slots__
        )
        after = self._own[model] = replace(
            before,
            active_decode_blocks_threshold=decode,
            active_prefill_tokens_threshold=tokens,
            active_prefill_tokens_threshold_frac=share,
        )
        self.on_change()
        return after
