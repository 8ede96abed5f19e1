"""The view and those who follow it: nothing before both lists, then only what changed, a few at a time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from dynamo_fe.discovery.base import Delete, Put, Snapshot
from dynamo_fe.discovery.kube_join import Join
from dynamo_fe.discovery.kube_readiness import SliceReadiness
from dynamo_fe.discovery.kube_view import STRIDE, KubeView
from tests.support.kube_objects import endpoint_entry, ready_slice, record

PREFIX = "v1/instances/"


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value))


def records(count: int) -> list[msgspec.Raw]:
    return [raw(record(f"w{number}", {"endpoints": {"a": endpoint_entry(number)}})) for number in range(1, count + 1)]


def pods(*numbers: int) -> msgspec.Raw:
    return raw(ready_slice(*(f"w{number}" for number in numbers)))


async def test_there_is_no_view_before_both_lists() -> None:
    view = KubeView(Join(SliceReadiness()))
    upcoming = asyncio.create_task(view.follow(PREFIX).next())
    await view.records.replace(records(2))
    view.pods.put(pods(1))
    await asyncio.sleep(0)
    assert not upcoming.done()
    await view.pods.replace([pods(1)])
    events = await upcoming
    assert events is not None and isinstance(events[0], Snapshot)
    assert [key.rpartition("/")[2] for key in events[0].entries] == ["1"]


async def test_many_changes_come_a_few_at_a_time() -> None:
    view = KubeView(Join(SliceReadiness()))
    await view.records.replace(records(10 * STRIDE))
    await view.pods.replace([])
    follower = view.follow(PREFIX)
    await follower.next()
    view.pods.put(pods(*range(1, 10 * STRIDE + 1)))
    batches = [await follower.next() or [] for _ in range(10)]
    assert [len(batch) for batch in batches] == [STRIDE] * 10
    assert len({event.key for batch in batches for event in batch if isinstance(event, Put)}) == 10 * STRIDE


async def test_who_is_slow_to_ask_hears_only_how_each_key_ended() -> None:
    view = KubeView(Join(SliceReadiness()))
    await view.records.replace(records(2))
    await view.pods.replace([])
    follower = view.follow(PREFIX)
    await follower.next()
    for _ in range(100):
        view.pods.put(pods(1, 2))
        view.pods.put(pods(1))
    events = await follower.next() or []
    ends = {event.key[-1]: type(event) for event in events if isinstance(event, Put | Delete)}
    assert (ends, len(events)) == ({"1": Put, "2": Delete}, 2)


async def test_a_whole_list_drops_what_it_lacks() -> None:
    view = KubeView(Join(SliceReadiness()))
    await view.records.replace(records(2))
    await view.pods.replace([pods(1, 2)])
    assert len(view.join.entries(PREFIX)) == 2
    await view.records.replace([raw({"metadata": {}}), *records(1)])
    assert len(view.join.entries(PREFIX)) == 1


async def test_an_object_of_a_list_that_cannot_be_read_stays_as_it_was() -> None:
    view = KubeView(Join(SliceReadiness()))
    await view.records.replace(records(1))
    await view.pods.replace([pods(1)])
    await view.records.replace([raw({"metadata": {"name": "w1"}, "spec": 5})])
    await view.pods.replace([raw({"metadata": {"name": "workers-1"}, "endpoints": 5})])
    assert len(view.join.entries(PREFIX)) == 1


async def test_closing_ends_all_that_follow() -> None:
    view = KubeView(Join(SliceReadiness()))
    upcoming = asyncio.create_task(view.follow(PREFIX).next())
    await asyncio.sleep(0)
    view.close()
    assert await upcoming is None
