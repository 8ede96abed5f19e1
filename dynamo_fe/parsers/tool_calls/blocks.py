"""What several formats have in common: how a block ends, and what stands between members."""

from __future__ import annotations

from dynamo_fe.parsers.feed import Feed, Reading, Unreadable


def end_of_block(feed: Feed, empty: bool) -> Reading[None]:
    """The end of a block without its closer: one all the same, if it had a call. Raises Unreadable for another text in
    it, Cut where the answer ends with nothing in it.
    """
    yield from feed.skip_space()
    if empty:
        yield from feed.need()
        raise Unreadable


def another_member(feed: Feed, closer: str) -> Reading[bool]:
    """After a member of a list: True behind a comma, False in front of the closer. Raises Unreadable for other text."""
    yield from feed.skip_space()
    char = yield from feed.need()
    if char == ",":
        feed.at += 1
        return True
    if char != closer:
        raise Unreadable
    return False
