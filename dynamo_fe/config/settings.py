"""Every setting of the frontend, as one type and as one table.

`Settings` is what the other rooms read; `TABLE` is the same list as rows, for parsing, for help and for messages. Both
come from the groups under `config/groups/`: a new setting is one line there.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

from dynamo_fe.config.groups.admission import AdmissionSettings
from dynamo_fe.config.groups.backends import DiscoverySettings, PlaneSettings
from dynamo_fe.config.groups.fine_print import HistogramSettings, RoutePathSettings
from dynamo_fe.config.groups.http_limits import HttpLimitSettings
from dynamo_fe.config.groups.kv_router import KvRouterSettings, SimulatorSettings
from dynamo_fe.config.groups.models import ApiSettings, ModelSettings
from dynamo_fe.config.groups.router import RouterSettings
from dynamo_fe.config.groups.server import HttpSettings, KserveSettings, LogSettings, ProcessSettings
from dynamo_fe.config.groups.transport_security import NatsSettings, TransportSecuritySettings
from dynamo_fe.config.setting import METADATA_KEY, Setting

# In the order in which --help shows them.
_GROUPS: Final = (
    HttpSettings,
    HttpLimitSettings,
    AdmissionSettings,
    ProcessSettings,
    DiscoverySettings,
    PlaneSettings,
    ModelSettings,
    ApiSettings,
    RouterSettings,
    LogSettings,
    KserveSettings,
    TransportSecuritySettings,
    NatsSettings,
    KvRouterSettings,
    SimulatorSettings,
    RoutePathSettings,
    HistogramSettings,
)


@dataclass(frozen=True)
class Settings(
    HttpSettings,
    HttpLimitSettings,
    AdmissionSettings,
    ProcessSettings,
    DiscoverySettings,
    PlaneSettings,
    ModelSettings,
    ApiSettings,
    RouterSettings,
    LogSettings,
    KserveSettings,
    TransportSecuritySettings,
    NatsSettings,
    KvRouterSettings,
    SimulatorSettings,
    RoutePathSettings,
    HistogramSettings,
):
    """A complete, validated configuration. Immutable and picklable; `Settings()` holds the defaults.

    A choice whose feature is not there yet never appears here: `load` puts its stand-in in its place.
    """


TABLE: Final[tuple[Setting, ...]] = tuple(
    replace(row.metadata[METADATA_KEY], name=row.name, group=group.group) for group in _GROUPS for row in fields(group)
)
