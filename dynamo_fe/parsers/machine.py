"""One answer's text, read as it comes: reasoning, content and tool calls in one pass."""

from __future__ import annotations

from typing import Final

from dynamo_fe.parsers.events import Content, Event, Thought
from dynamo_fe.parsers.feed import Cut, Reading
from dynamo_fe.parsers.grammar import Live, grammar
from dynamo_fe.parsers.markers import Markers
from dynamo_fe.parsers.output import Output
from dynamo_fe.parsers.plan import ParsePlan
from dynamo_fe.parsers.state import State
from dynamo_fe.parsers.tool_calls.bare import read_guided

# how a message goes on whose first words stand in the prompt
_RECIPIENT: Final = Markers(["to="])


class Machine:
    """The parser of one choice. Cost is linear in the text; text without a first character of a live marker goes
    through untouched. Raises KeyError for a plan with an unknown tool parser.
    """

    __slots__ = ("_firsts", "_flowing", "_grammar", "_output", "_plan", "_running", "_state")

    def __init__(self, plan: ParsePlan) -> None:
        self._plan = plan
        self._grammar = grammar(plan.tool_parser, plan.reasoning_parser)
        self._output = Output(plan, self._grammar.call_id)
        self._state = State(self._output, plan.schemas, self._grammar.thoughts, self._grammar.calls)
        self._state.openers = self._grammar.openers
        self._flowing: Live | None = None
        # first characters of markers while content flows with nothing withheld
        self._firsts: str | None = None
        self._running: Reading[None] | None = self._read()
        self._resume()

    @property
    def completed_calls(self) -> int:
        """Calls that were told whole."""
        return self._output.completed

    @property
    def withholds(self) -> bool:
        """Whether text has come that was not told yet."""
        feed = self._state.feed
        return feed.at < len(feed.text) or bool(feed.taken())

    @property
    def inside_thought(self) -> bool:
        """Whether the text that comes next is reasoning, as far as is known."""
        return self._state.inside

    def flows(self, piece: str) -> bool:
        """Whether the piece, if it is pushed now, is nothing but content as it stands; it need not be pushed then."""
        firsts = self._firsts
        if firsts is None:
            return False
        for first in firsts:
            if first in piece:
                return False
        return True

    def push(self, piece: str) -> list[Event]:
        """Takes the next piece of text."""
        live, feed = self._flowing, self._state.feed
        if live is not None and feed.at == len(feed.text) and live.markers.absent_from(piece):
            return [Thought(piece) if self._state.inside else Content(piece)] if piece else []
        feed.push(piece)
        self._resume()
        return self._output.drain()

    def finish(self, cut: bool) -> list[Event]:
        """The answer has ended, `cut` by a limit of tokens or not. What was withheld and is no call is text; a call
        that is not complete gets no end.
        """
        feed = self._state.feed
        feed.ended, feed.cut = True, cut
        self._resume()
        return self._output.drain()

    def _resume(self) -> None:
        if self._running is None:
            return
        try:
            next(self._running)
        except (StopIteration, Cut):
            self._running = None
        feed, live = self._state.feed, self._flowing
        flows = live is not None and not self._state.inside and feed.at == len(feed.text)
        self._firsts = live.markers.firsts if live is not None and flows else None

    def _read(self) -> Reading[None]:
        state, feed = self._state, self._state.feed
        yield from self._begin()
        while True:
            if not state.inside:
                yield from self._gap()
            live = self._grammar.thought if state.inside else self._grammar.content
            self._flowing = live
            marker = yield from feed.until(live.markers, state.text)
            self._flowing = None
            if not marker:
                return
            yield from live.actions[marker](state, marker)
            state.gap = ""

    def _begin(self) -> Reading[None]:
        """Where the answer starts: what the prompt opened, and what belongs to it still."""
        state, feed, reasoning = self._state, self._state.feed, self._grammar.reasoning
        tail = self._plan.prompt_tail.rstrip()
        if tail.endswith(self._grammar.prompt_openers):
            state.enter(inside=True)
        elif reasoning.forced and not tail.endswith(reasoning.closers):
            state.enter(inside=not (self._guided() and (yield from self._starts_with_json())))
        if state.inside and reasoning.openers:
            yield from feed.accept_spaced(self._grammar.own_openers)
        if self._grammar.header is not None:
            size = yield from feed.space_before()
            if (yield from feed.marker_after(_RECIPIENT, size)):
                yield from self._grammar.header(state, "")
        if reasoning.prefix and (yield from feed.peek()):
            state.text(reasoning.prefix)

    def _guided(self) -> bool:
        return self._plan.guided or self._plan.forced

    def _starts_with_json(self) -> Reading[bool]:
        size = yield from self._state.feed.space_before()
        ahead = self._state.feed.text[self._state.feed.at + size :][:1]
        return ahead in ("{", "[")

    def _gap(self) -> Reading[None]:
        """Between two parts of content: blanks in front of a marker that follows a marker are no text, and where
        content begins, calls may begin without a marker.
        """
        state, feed, starts = self._state, self._state.feed, self._starts()
        if not (state.structural or (state.fresh and starts)):
            return
        size = yield from feed.space_before()
        blanks = feed.text[feed.at : feed.at + size]
        if (yield from feed.marker_after(self._grammar.content.after_gap, size)):
            if state.structural:
                feed.at += size
                state.gap = blanks
            return
        ahead = feed.text[feed.at + size : feed.at + size + 1]
        if state.fresh and ahead and ahead in starts:
            feed.at += size
            yield from state.region(self._bare(), (), blanks)

    def _starts(self) -> str:
        return "{[" + self._grammar.starts if self._plan.forced else self._grammar.starts

    def _bare(self) -> Reading[None]:
        """Calls without an opener: what guidance makes of them, or the tool format's own."""
        if self._plan.forced:
            return read_guided(self._state, self._plan.named)
        assert self._grammar.bare is not None
        return self._grammar.bare(self._state)
