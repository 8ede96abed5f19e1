"""The tree of running requests' blocks, by the compiled module and by its plain-Python statement."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_fe._cext import active_blocks
from dynamo_fe._cext.routing_score import Candidates
from tests.reference import active_blocks as reference

SLOTS = 3
# few blocks, so that prompts share prefixes; hashes that no signed number holds among them
PROMPT = st.lists(st.sampled_from([1, 2, 2**63 + 5]), max_size=6)
STEP = st.one_of(
    st.tuples(st.just("add"), PROMPT, st.integers(0, SLOTS - 1), st.booleans(), st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("weigh"), st.integers(0, 30), st.sampled_from([0.0, 0.25, 1.0])),
)


def chained(prompt: list[int]) -> list[int]:
    """Hashes that stand for all before them."""
    hashes: list[int] = []
    for block in prompt:
        hashes.append((hashes[-1] * 31 + block if hashes else block) % 2**64)
    return hashes


@dataclass
class Side:
    module: Any
    counts: list[Any] = field(init=False)
    running: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = self.module.ActiveBlocks()
        self.counts = [self.module.BlockCounts() for _ in range(SLOTS)]

    def take(self, step: Any) -> None:
        if step[0] == "add":
            _, prompt, slot, own, as_array = step
            hashes = array("Q", chained(prompt)) if as_array else chained(prompt)
            leaf = self.tree.add(hashes, slot, self.counts[slot], own)
            assert (leaf is None) == (not prompt)
            if leaf is not None:
                self.running.append((leaf, slot, own))
            return
        if not self.running:
            return
        at = step[1] % len(self.running)
        leaf, slot, own = self.running[at]
        if step[0] == "weigh":
            self.tree.weigh(leaf, slot, self.counts[slot], step[2])
        else:
            del self.running[at]
            self.tree.remove(leaf, slot, self.counts[slot], own)

    def told(self, prompt: list[int]) -> Any:
        columns = Candidates(SLOTS)
        self.tree.show_shared(chained(prompt), columns)
        found = self.tree.shared(array("Q", chained(prompt)))
        assert list(columns.shared_prefix) == [found.get(slot, 0) for slot in range(SLOTS)]
        return found, self.tree.empty, [(counts.all, counts.own) for counts in self.counts]


@given(st.lists(STEP, max_size=30), PROMPT)
def test_whatever_comes_and_goes_the_same_is_told(steps: list[Any], prompt: list[int]) -> None:
    sides = [Side(active_blocks), Side(reference)]
    for step in steps:
        for side in sides:
            side.take(step)
        assert sides[0].told(prompt) == sides[1].told(prompt)
    for side in sides:
        while side.running:
            side.take(("remove", 0))
        assert side.tree.empty


def test_what_is_no_hash_or_has_no_row_is_refused() -> None:
    tree = active_blocks.ActiveBlocks()
    with pytest.raises((OverflowError, TypeError)):
        tree.add([-1], 0, active_blocks.BlockCounts(), True)
    tree.add([1, 2], 5, active_blocks.BlockCounts(), True)
    with pytest.raises(IndexError):
        tree.show_shared([1, 2], Candidates(5))
    assert not tree.empty
