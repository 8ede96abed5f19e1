"""The thresholds of busy workers: defaults, changes, what stays, what the other processes of the host see."""

import os

import pytest

from dynamo_fe.routing.busy_thresholds import BusyThreshold, BusyThresholds
from dynamo_fe.routing.threshold_board import ThresholdBoard


def test_a_model_has_the_defaults_until_its_own_are_set() -> None:
    thresholds = BusyThresholds(BusyThreshold(0.9, 1000, None), ThresholdBoard())
    assert thresholds.of("a") == BusyThreshold(0.9, 1000, None)
    assert thresholds.change("a", BusyThreshold(active_decode_blocks_threshold=0.5)) == BusyThreshold(0.5, 1000, None)
    assert thresholds.of("a") == BusyThreshold(0.5, 1000, None)
    assert thresholds.of("b") == BusyThreshold(0.9, 1000, None)


def test_what_is_not_given_stays() -> None:
    thresholds = BusyThresholds(BusyThreshold(), ThresholdBoard())
    thresholds.change("a", BusyThreshold(active_prefill_tokens_threshold=0))
    thresholds.change("a", BusyThreshold(active_prefill_tokens_threshold_frac=1.5))
    assert thresholds.of("a") == BusyThreshold(None, 0, 1.5)


def test_a_change_holds_in_every_process_and_merges_with_those_of_others() -> None:
    board = ThresholdBoard()
    one, other = (BusyThresholds(BusyThreshold(), board) for _ in range(2))
    told: list[str] = []
    other.on_change = lambda: told.append("other")
    one.change("a", BusyThreshold(active_decode_blocks_threshold=0.5))
    other.change("a", BusyThreshold(active_prefill_tokens_threshold=7))
    assert one.of("a") == other.of("a") == BusyThreshold(0.5, 7, None)
    assert told and other.looks_at_blocks
    assert BusyThresholds(BusyThreshold(), board).of("a") == BusyThreshold(0.5, 7, None)


def test_processes_that_change_at_once_lose_nothing() -> None:
    board = ThresholdBoard()
    children = []
    for process in range(4):
        child = os.fork()
        if child == 0:
            thresholds = BusyThresholds(BusyThreshold(), board)
            for number in range(50):
                thresholds.change(f"{process}-{number}", BusyThreshold(active_prefill_tokens_threshold=number))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    thresholds = BusyThresholds(BusyThreshold(), board)
    for process in range(4):
        for number in range(50):
            assert thresholds.of(f"{process}-{number}").active_prefill_tokens_threshold == number


def test_the_board_has_an_end() -> None:
    thresholds = BusyThresholds(BusyThreshold(), ThresholdBoard(most_bytes=300))
    thresholds.change("a", BusyThreshold(active_prefill_tokens_threshold=1))
    with pytest.raises(ValueError, match="300 bytes"):
        thresholds.change("b" * 300, BusyThreshold(active_prefill_tokens_threshold=1))
    assert thresholds.of("a").active_prefill_tokens_threshold == 1
