"""What the processes of one host have in common for KV routing, made in the supervisor before any of them is forked."""

from typing import TYPE_CHECKING, Final

from dynamo_fe.appliance.role import GENERATIONS
from dynamo_fe.config import Settings
from dynamo_fe.routing.threshold_board import ThresholdBoard

if TYPE_CHECKING:
    from dynamo_fe.routing.kv.decisions import DecisionLog
    from dynamo_fe.routing.kv.load_table import LoadTable
    from dynamo_fe.routing.kv_events.memory import IndexMemory

# ranks of all models; beyond it a rank's load is known to its own process alone
_MOST_RANKS: Final = 8192


def in_kv_mode(settings: Settings) -> bool:
    """Whether the router looks at prompts."""
    return settings.router_mode == "kv" or settings.load_aware


def by_decisions(settings: Settings) -> bool:
    """Whether the router takes it from decisions what workers hold. Raises ConfigError as `kv_rules`."""
    if not in_kv_mode(settings):
        return False
    from dynamo_fe.cli.kv_rules import kv_rules

    return kv_rules(settings).guesses


def by_kv_events(settings: Settings) -> bool:
    """Whether the router wants to know what workers say they hold. Raises SettingFault as `kv_rules`."""
    if not in_kv_mode(settings):
        return False
    from dynamo_fe.cli.kv_rules import kv_rules

    rules = kv_rules(settings)
    return rules.use_kv_events and rules.wants_overlaps


def _seats(settings: Settings) -> int:
    """With that for gRPC."""
    return GENERATIONS * (settings.workers + 1)


def shares_index(settings: Settings) -> bool:
    """Whether several processes route by what workers say, so that one more keeps the index for all of them."""
    several = settings.workers > 1 or (settings.grpc_port is not None and not settings.grpc_only)
    return several and by_kv_events(settings)


class KvShared:
    """`thresholds` holds what was changed over HTTP; `loads` is None as long as nobody routes by KV, `decisions` unless
    that goes by decisions, `sessions` unless they are bound, `index` unless several processes use KV events.
    """

    def __init__(self) -> None:
        self.thresholds = ThresholdBoard()
        self.loads: LoadTable | None = None
        self.decisions: DecisionLog | None = None
        self.sessions: DecisionLog | None = None
        self.index: IndexMemory | None = None

    @property
    def for_life(self) -> tuple[str, ...]:
        """Settings of which a reload cannot take over another value, as the memory is in use."""
        made = {"kv_index_mb": self.index, "kv_decisions_mb": self.decisions}
        return tuple(name for name, memory in made.items() if memory is not None)

    def prepare(self, settings: Settings) -> None:
        """Makes what processes with these settings need. What is there already stays: it is in use."""
        if self.loads is None and in_kv_mode(settings):
            from dynamo_fe.routing.kv.load_table import LoadTable

            self.loads = LoadTable(_seats(settings), _MOST_RANKS)
        if self.decisions is None and by_decisions(settings):
            from dynamo_fe.routing.kv.decisions import DecisionLog

            self.decisions = DecisionLog(_seats(settings), settings.kv_decisions_mb << 20)
        if self.sessions is None and in_kv_mode(settings) and settings.router_session_affinity_ttl_secs is not None:
            from dynamo_fe.routing.kv.decisions import DecisionLog
            from dynamo_fe.routing.kv.session_log import SESSION_LOG_BYTES

            self.sessions = DecisionLog(_seats(settings), SESSION_LOG_BYTES)
        if self.index is None and shares_index(settings):
            from dynamo_fe.routing.kv_events.memory import IndexMemory

            self.index = IndexMemory(settings.kv_index_mb << 20)

    def process_ended(self, seat: int) -> None:
        """Clears what a process of that seat left."""
        if self.loads is not None:
            self.loads.clear(seat)
