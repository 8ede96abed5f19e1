"""The text format of the metrics page."""

import os

import pytest

from dynamo_fe.ops.frontend_metrics import FrontendMetrics
from dynamo_fe.ops.metrics import MetricsRegistry
from dynamo_fe.ops.sibling_metrics import SiblingMetrics, group_of


def test_histograms_are_cumulative_and_keep_the_spelling_of_their_edges() -> None:
    registry = MetricsRegistry()
    family = registry.histogram("t_seconds", "Time", "0.00001 1 2.2")
    family.labels().observe(1)
    family.labels().observe(2, weight=3)
    family.labels().observe(99)
    assert registry.exposition().decode().splitlines() == [
        "# HELP t_seconds Time",
        "# TYPE t_seconds histogram",
        't_seconds_bucket{le="0.00001"} 0',
        't_seconds_bucket{le="1"} 1',
        't_seconds_bucket{le="2.2"} 4',
        't_seconds_bucket{le="+Inf"} 5',
        "t_seconds_sum 106",
        "t_seconds_count 5",
    ]


def test_series_appear_with_their_first_use_and_labels_are_escaped() -> None:
    registry = MetricsRegistry()
    family = registry.counter("c_total", "Count", ("model",))
    assert registry.exposition() == b""
    family.labels('a"b\\c\nd').add(2)
    assert registry.exposition().decode().splitlines()[-1] == 'c_total{model="a\\"b\\\\c\\nd"} 2'


def test_gauges_are_refreshed_before_each_reading() -> None:
    registry = MetricsRegistry()
    gauge = registry.gauge("g", "Gauge")
    values = iter([1.5, 2.0])
    registry.before_snapshot(lambda: gauge.labels().set(next(values)))
    assert registry.exposition().decode().splitlines()[-1] == "g 1.5"
    assert registry.exposition().decode().splitlines()[-1] == "g 2"


def test_the_prefix_can_be_changed() -> None:
    metrics = FrontendMetrics("mine")
    metrics.active.labels("m").add()
    assert b'mine_active_requests{model="m"} 1' in metrics.registry.exposition()


@pytest.mark.parametrize(("prefix", "made"), [("a-b", "a_b"), ("1x", "_1x"), ("ä b", "__b"), ("a:b", "a:b")])
def test_any_prefix_makes_a_name_as_the_original_makes_it(prefix: str, made: str) -> None:
    metrics = FrontendMetrics(prefix)
    metrics.active.labels("m").add()
    assert f'\n{made}_active_requests{{model="m"}} 1'.encode() in metrics.registry.exposition()


def test_processes_are_shown_as_one() -> None:
    registries = [MetricsRegistry(), MetricsRegistry()]
    for number, registry in enumerate(registries, 1):
        registry.counter("c_total", "Count", ("model",)).labels("m").add(number)
        registry.gauge("ready", "Alike everywhere", (), "max").labels().set(1)
        registry.histogram("h", "Sizes", "1 2").labels().observe(number)
    registries[1].counter("c2_total", "Only there").labels().add()
    lines = registries[0].exposition([registries[1].snapshot()]).decode().splitlines()
    assert 'c_total{model="m"} 3' in lines and "ready 1" in lines
    assert [line for line in lines if line.startswith("h_")] == [
        'h_bucket{le="1"} 1', 'h_bucket{le="2"} 2', 'h_bucket{le="+Inf"} 2', "h_sum 3", "h_count 2",
    ]  # fmt: skip


async def test_siblings_find_each_other_and_a_dead_one_is_left_out() -> None:
    registries = [MetricsRegistry() for _ in range(3)]
    for registry in registries:
        registry.counter("c_total", "Count").labels().add()
    group = group_of(os.getpid())
    first, second, third = (SiblingMetrics(registry, group, index, 3) for index, registry in enumerate(registries))
    async with first, second:
        assert len(await first.collect()) == 1
        async with third:
            assert "c_total 3" in registries[1].exposition(await second.collect()).decode()
    assert await first.collect() == []
