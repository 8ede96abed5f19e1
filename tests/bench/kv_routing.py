"""What routing by KV cache costs: ours in KV mode against ours in turn, and against the real frontend in KV mode.

    python -m tests.bench.kv_routing [--rounds N] [--secs S] [--scenarios unary1,stream128,shared8k]

Over four real mockers that publish their events. As in `versus`, the load goes to one frontend after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

from tests.bench.versus import Contender, mockers, run_scenario, start

SCENARIOS = ("unary1", "stream128", "shared8k")
WORKERS = 4
PAIRS = [("ours:kv", "ours:turns"), ("ours:kv", "original:kv"), ("original:kv", "original:turns")]


def contenders() -> list[Contender]:
    everything = frozenset(SCENARIOS)
    return [
        Contender("ours:kv", True, ("--router-mode", "kv"), everything),
        Contender("ours:turns", True, ("--router-mode", "round-robin"), everything),
        Contender("original:kv", False, ("--router-mode", "kv"), everything),
        Contender("original:turns", False, ("--router-mode", "round-robin"), everything),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each scenario, after one to warm up")
    parser.add_argument("--secs", type=int, default=6, help="length of one load")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        store = stack.enter_context(mockers(home, WORKERS))
        rivals = contenders()
        for contender in rivals:
            start(contender, store, home, frozen=False)
            assert contender.frontend is not None
            stack.callback(contender.frontend.stop)
        for scenario in options.scenarios.split(","):
            run_scenario(rivals, scenario, options.rounds, options.secs, PAIRS)


if __name__ == "__main__":
    main()
