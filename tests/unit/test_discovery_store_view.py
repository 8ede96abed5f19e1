"""What survives when the store forgets."""

from __future__ import annotations

from dynamo_fe.discovery.base import Delete, Put, Snapshot
from dynamo_fe.discovery.store_view import StoreView


def view_of(**entries: bytes) -> StoreView:
    view = StoreView(grace_secs=100)
    view.apply(Snapshot(dict(entries), after_outage=False), now=0)
    return view


def test_a_first_snapshot_brings_everything() -> None:
    view = StoreView()
    assert not view.listed
    assert view.apply(Snapshot({"a": b"1"}, after_outage=False), now=0) == [Put("a", b"1")]
    assert view.listed


def test_a_deletion_is_final() -> None:
    view = view_of(a=b"1")
    assert view.apply(Delete("a"), now=0) == [Delete("a")]
    assert view.apply(Delete("a"), now=0) == []


def test_a_plain_snapshot_replaces_the_state() -> None:
    view = view_of(a=b"1", b=b"1", c=b"1")
    changes = view.apply(Snapshot({"b": b"1", "c": b"2"}, after_outage=False), now=0)
    assert changes == [Delete("a"), Put("c", b"2")]


def test_after_an_outage_what_is_missing_lives_on_for_the_grace() -> None:
    view = view_of(a=b"1", b=b"1")
    assert view.apply(Snapshot({"b": b"1"}, after_outage=True), now=10) == []
    assert view.unconfirmed() == {"a"}
    assert view.next_deadline() == 110
    assert view.expire(now=109) == []
    assert view.expire(now=110) == [Delete("a")]
    assert view.next_deadline() is None


def test_a_second_outage_does_not_prolong_the_grace() -> None:
    view = view_of(a=b"1")
    view.apply(Snapshot({}, after_outage=True), now=10)
    view.apply(Snapshot({}, after_outage=True), now=60)
    assert view.next_deadline() == 110


def test_what_registers_again_is_confirmed() -> None:
    view = view_of(a=b"1", b=b"1")
    view.apply(Snapshot({}, after_outage=True), now=0)
    assert view.apply(Put("a", b"1"), now=1) == [Put("a", b"1")]
    assert view.apply(Snapshot({"a": b"1", "b": b"2"}, after_outage=True), now=2) == [Put("b", b"2")]
    assert view.unconfirmed() == set()


def test_only_the_unconfirmed_can_be_dropped() -> None:
    view = view_of(a=b"1", b=b"1")
    view.apply(Snapshot({"b": b"1"}, after_outage=True), now=0)
    assert view.drop("b") == []
    assert view.drop("a") == [Delete("a")]
    assert view.drop("a") == []
