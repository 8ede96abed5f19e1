"""The thresholds of busy workers: defaults, changes, what stays."""

from dynamo_fe.routing.busy_thresholds import BusyThreshold, BusyThresholds


def test_a_model_has_the_defaults_until_its_own_are_set() -> None:
    thresholds = BusyThresholds(BusyThreshold(0.9, 1000, None))
    assert thresholds.of("a") == BusyThreshold(0.9, 1000, None)
    assert thresholds.change("a", BusyThreshold(active_decode_blocks_threshold=0.5)) == BusyThreshold(0.5, 1000, None)
    assert thresholds.of("a") == BusyThreshold(0.5, 1000, None)
    assert thresholds.of("b") == BusyThreshold(0.9, 1000, None)


def test_what_is_not_given_stays() -> None:
    thresholds = BusyThresholds(BusyThreshold())
    thresholds.change("a", BusyThreshold(active_prefill_tokens_threshold=0))
    thresholds.change("a", BusyThreshold(active_prefill_tokens_threshold_frac=1.5))
    assert thresholds.of("a") == BusyThreshold(None, 0, 1.5)
