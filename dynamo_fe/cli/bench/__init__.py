"""`dynamo-fe bench`: load against a running frontend, or against one of its own with mock workers."""

from collections.abc import Iterable, Sequence

from dynamo_fe.cli.command import Option


def bench(argv: Sequence[str]) -> int:
    """The command; returns the exit code."""
    from dynamo_fe.cli.bench.command import run

    return run(argv)


def bench_options() -> Iterable[Option]:
    """What it can be told, for help, man page and completion."""
    from dynamo_fe.cli.bench.options import ROWS

    return [Option((row.flag,), row.operand, row.text) for row in ROWS]
