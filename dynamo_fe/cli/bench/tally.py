"""What became of the requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dynamo_fe.cli.bench.spread import Spread


@dataclass(slots=True)
class Failures:
    """Of one class: how many, and what the first said."""

    count: int
    example: str


@dataclass(slots=True)
class Tally:
    """`ttft`: from the moment a request was due to its first text; `itl`: between two pieces of text of an answer;
    `e2e`: to its end. `unfinished` ones were given up, `late`
    ones due when no lane was free.
    """

    complete: int = 0
    running: int = 0
    unfinished: int = 0
    late: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ttft: Spread = field(default_factory=Spread)
    itl: Spread = field(default_factory=Spread)
    e2e: Spread = field(default_factory=Spread)
    failures: dict[str, Failures] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(each.count for each in self.failures.values())

    def fail(self, kind: str, text: str) -> None:
        if kind in self.failures:
            self.failures[kind].count += 1
        else:
            self.failures[kind] = Failures(1, text)

    def by_count(self) -> Iterator[tuple[str, Failures]]:
        """The most frequent class first."""
        yield from sorted(self.failures.items(), key=lambda item: -item[1].count)
