"""A request on its rank, from the choice to its end."""

from dynamo_fe.routing.kv.placement import Placement
from dynamo_fe.routing.kv.ranks import Rank, RankLoads, RankTraits
from dynamo_fe.routing.kv.request import Choice


class Watcher:
    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, placement: Placement) -> None:
        self.told.append("began")

    def over(self, placement: Placement) -> None:
        self.told.append("over")


def placed(prompt_tokens: int, expected: int | None = None) -> tuple[Placement, Rank, Watcher]:
    loads, watcher = RankLoads(), Watcher()
    loads.settle({(1, 0): RankTraits(None, None, frozenset())})
    rank = loads.get(1, 0)
    assert rank is not None
    blocks = prompt_tokens // 4
    booking = loads.book(rank, list(range(blocks)), blocks, prompt_tokens)
    choice = Choice((1, 0), booking, 0.0, (0, 0, 0), 0, 0)
    return Placement("r", None, choice, watcher, prompt_tokens, 4, expected, True), rank, watcher


def test_a_new_block_is_opened_when_prompt_and_output_reach_into_it() -> None:
    for prompt_tokens, opening in ((4, 1), (5, 4), (7, 2), (8, 1)):
        placement, rank, _ = placed(prompt_tokens)
        before = rank.active_blocks
        placement.tokens(opening - 1)
        assert rank.active_blocks == before
        placement.tokens(1)
        assert rank.active_blocks == before + 1
        placement.tokens(8)
        assert rank.active_blocks == before + 3
        placement.over()
        assert rank.active_blocks == 0


def test_an_expected_length_lets_its_blocks_fade() -> None:
    placement, rank, _ = placed(16, expected=8)
    placement.tokens(1)
    assert rank.active_blocks == 4  # (4 + 1) * 7/8 = 4.375
    placement.tokens(4)
    assert rank.active_blocks == 2  # (4 + 2) * 3/8 = 2.25
    placement.tokens(8)
    assert rank.active_blocks == 0
    placement.over()
    assert (rank.active_blocks, rank.prefill_tokens) == (0, 0)


def test_each_step_is_told_once_and_nothing_after_the_end() -> None:
    placement, rank, watcher = placed(8)
    for _ in range(2):
        placement.began()
    assert rank.prefill_tokens == 0
    for _ in range(2):
        placement.over()
    placement.began()
    placement.tokens(100)
    assert watcher.told == ["began", "over"]
    assert rank.active_blocks == 0


def test_one_that_ends_before_it_began_never_begins() -> None:
    placement, rank, watcher = placed(8)
    placement.over()
    placement.began()
    assert watcher.told == ["over"]
    assert rank.prefill_tokens == 0
