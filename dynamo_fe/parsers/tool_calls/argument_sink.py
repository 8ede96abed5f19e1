"""Arguments on their way out: held until the call has a name and they have begun to be arguments."""

from __future__ import annotations

from dynamo_fe.parsers.feed import Feed
from dynamo_fe.parsers.output import Output


class ArgumentSink:
    """The arguments of one call. A call is told once its name is known and its arguments are solid; until then it can
    still turn out to be none, and the text is kept to be given back.
    """

    __slots__ = ("_feed", "_held", "_name", "_id", "_output", "_solid", "started")

    def __init__(self, feed: Feed, output: Output) -> None:
        self._feed = feed
        self._output = output
        self._held: list[str] = []
        self._name: str | None = None
        self._id: str | None = None
        self._solid = False
        self.started = False

    def named(self, name: str, call_id: str | None = None) -> None:
        self._name, self._id = name, call_id
        self._start()

    def solid(self) -> None:
        """What came so far is arguments for certain."""
        if not self._solid:
            self._solid = True
            self._start()

    def text(self, text: str) -> None:
        if self.started:
            self._output.arguments(text)
        else:
            self._held.append(text)

    def end(self) -> None:
        """The arguments are complete, and so is the call; none that came are `{}`. The name must be known."""
        if not self.started:
            if not self._held:
                self._held.append("{}")
            self.solid()
        self._output.end()
        self._feed.keep()

    def _start(self) -> None:
        if self._name is None or not self._solid or self.started:
            return
        self.started = True
        self._feed.forget()
        self._output.start(self._name, self._id)
        for text in self._held:
            self._output.arguments(text)
        self._held.clear()
