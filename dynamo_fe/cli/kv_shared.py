"""What the processes of one host have in common for KV routing, made in the supervisor before any of them is forked."""

from typing import TYPE_CHECKING, Final

from dynamo_fe.config import Settings

if TYPE_CHECKING:
    from dynamo_fe.routing.kv.load_table import LoadTable

# ranks of all models; beyond it a rank's load is known to its own process alone
_MOST_RANKS: Final = 8192
# two generations of processes, that for gRPC among them, live beside each other during a reload
_GENERATIONS: Final = 2


def in_kv_mode(settings: Settings) -> bool:
    """Whether the router looks at prompts."""
    return settings.router_mode == "kv" or settings.load_aware


class KvShared:
    """`loads` is None as long as nobody routes by KV."""

    def __init__(self) -> None:
        self.loads: LoadTable | None = None

    def prepare(self, settings: Settings) -> None:
        """Makes what processes with these settings need. What is there already stays: it is in use."""
        if self.loads is None and in_kv_mode(settings):
            from dynamo_fe.routing.kv.load_table import LoadTable

            self.loads = LoadTable(_GENERATIONS * (settings.workers + 1), _MOST_RANKS)

    def process_ended(self, seat: int) -> None:
        """Clears what a process of that seat left."""
        if self.loads is not None:
            self.loads.clear(seat)
