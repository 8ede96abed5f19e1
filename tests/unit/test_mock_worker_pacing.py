"""The mock engine's beat, by a clock that the test turns."""

from dynamo_fe.workers.pacing import MAX_CATCH_UP_SECS, MIN_BEAT_SECS, UNPACED_STEPS, StepClock


def test_nothing_is_due_before_start() -> None:
    clock = StepClock(0.1)
    assert not clock.running
    assert clock.take(5.0) == 0


def test_first_step_is_due_at_once_and_then_one_each_interval() -> None:
    clock = StepClock(0.125)
    clock.start(10.0)
    assert clock.take(10.0) == 1
    assert clock.take(10.0625) == 0
    assert clock.wake_at(10.0625) == 10.125
    assert clock.take(10.125) == 1


def test_late_wake_ups_do_not_slow_the_rate() -> None:
    clock = StepClock(0.0078125)
    clock.start(0.0)
    now, steps = 0.0, 0
    while now < 1.0:
        steps += clock.take(now)
        now += 0.01
    assert 125 <= steps <= 129


def test_starting_again_while_it_runs_changes_nothing() -> None:
    clock = StepClock(0.125)
    clock.start(0.0)
    clock.take(0.0)
    clock.start(0.0625)
    assert clock.take(0.0625) == 0


def test_time_stopped_is_not_made_up() -> None:
    clock = StepClock(0.125)
    clock.start(0.0)
    clock.take(0.0)
    clock.stop()
    clock.start(100.0)
    assert clock.take(100.0) == 1


def test_a_long_stall_is_made_up_only_in_part() -> None:
    clock = StepClock(0.0625)
    clock.start(0.0)
    assert clock.take(1000.0) == int(MAX_CATCH_UP_SECS / 0.0625) + 1


def test_short_intervals_are_taken_together() -> None:
    clock = StepClock(0.0001220703125)
    clock.start(0.0)
    clock.take(0.0)
    assert clock.wake_at(0.0) == MIN_BEAT_SECS
    assert clock.take(0.0009765625) == 8


def test_no_pace_means_many_steps_a_beat() -> None:
    clock = StepClock(0.0)
    clock.start(0.0)
    assert clock.take(0.0) == UNPACED_STEPS
    assert clock.take(0.0) == UNPACED_STEPS
