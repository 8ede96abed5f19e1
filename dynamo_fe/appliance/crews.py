"""Which crews there are: the helpers, the generation that serves, the one that is to take over, those that end."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from socket import socket
from typing import Final

from dynamo_fe.appliance.control import Control, Place, Reports
from dynamo_fe.appliance.crew import Crew
from dynamo_fe.appliance.heartbeat import Heartbeats, Pulse
from dynamo_fe.appliance.process_name import name_process
from dynamo_fe.appliance.role import Role
from dynamo_fe.appliance.slot import Slot

_GENERATIONS: Final = 2


class Crews:
    """Makes the crews of the roles and says what each child may touch of what the supervisor holds.

    `leaving` are of a generation that served, `retiring` helpers that are not wanted any more.
    """

    def __init__(self, roles: Sequence[Role], reports: Reports) -> None:
        self._reports = reports
        self._listeners = {id(role.listeners): role.listeners for role in roles if role.listeners is not None}
        self._pulses: dict[str, list[Pulse]] = {}
        self._generation = 0
        self.serving = Crew(self._slots(role for role in roles if role.serves))
        self._helpers: dict[str, list[Slot]] = {}
        self._helpers = self._helpers_of(roles)
        self._next_helpers = self._helpers
        self.helping = Crew(chain(*self._helpers.values()))
        self.coming = Crew()
        self.leaving = Crew()
        self.retiring = Crew()

    @property
    def requests(self) -> tuple[Crew, Crew, Crew]:
        """Those that may have requests in hand."""
        return self.serving, self.coming, self.leaving

    def __iter__(self) -> Iterator[Crew]:
        return iter((*self.requests, self.helping, self.retiring))

    @property
    def reloading(self) -> bool:
        """Whether two generations are alive."""
        return bool(self.coming) or self.leaving.alive or self.retiring.alive

    def prepare(self, roles: Sequence[Role]) -> None:
        """The next generation: the same roles that serve as before, running something else. Helpers of before go on;
        those that are new help both generations.
        """
        self._generation = (self._generation + 1) % _GENERATIONS
        self.coming = Crew(self._slots(role for role in roles if role.serves))
        self._next_helpers = self._helpers_of(roles)
        self.helping = Crew(chain(*(self._helpers | self._next_helpers).values()))

    def hand_over(self) -> None:
        """The next generation becomes the one that serves."""
        self.leaving, self.serving, self.coming = self.serving, self.coming, Crew()
        self._retire(self._next_helpers, self._helpers)

    def take_back(self) -> None:
        """The next generation has failed."""
        self._generation = (self._generation - 1) % _GENERATIONS
        self.leaving, self.coming = self.coming, Crew()
        self._retire(self._helpers, self._next_helpers)

    def close_sockets(self) -> None:
        """From now on the children alone decide how long connections are taken."""
        for listeners in self._listeners.values():
            listeners.close_sockets()

    def close(self) -> None:
        for listeners in self._listeners.values():
            listeners.close()

    def _retire(self, wanted: dict[str, list[Slot]], others: dict[str, list[Slot]]) -> None:
        self.retiring = Crew(chain(*(others[name] for name in others.keys() - wanted.keys())))
        self.helping = Crew(chain(*wanted.values()))
        self._helpers = self._next_helpers = wanted

    def _helpers_of(self, roles: Sequence[Role]) -> dict[str, list[Slot]]:
        """By the name of the role; those that are there already go on."""
        helpers = [role for role in roles if not role.serves]
        return {role.name: self._helpers.get(role.name) or list(self._slots([role])) for role in helpers}

    def _slots(self, roles: Iterable[Role]) -> Iterator[Slot]:
        for role in roles:
            for index in range(role.count):
                seat = index + (self._generation * role.count if role.serves else 0)
                yield self._slot(role, Place(index, role.count, seat, role.seats))

    def _slot(self, role: Role, place: Place) -> Slot:
        if role.name not in self._pulses:
            self._pulses[role.name] = Heartbeats(role.seats).pulses
        pulse = self._pulses[role.name][place.seat]

        def body() -> int:
            name_process(role.name)
            listener = self._keep_only(role, place.index)
            return role.run(Control(place, self._reports.pipe(), pulse, listener))

        name = role.name if role.count == 1 and not role.serves else f"{role.name} {place.index}"
        return Slot(name, body, role.grace_secs, pulse if role.watched else None, lambda: role.on_end(place.seat))

    def _keep_only(self, role: Role, index: int) -> socket | None:
        own = None
        for listeners in self._listeners.values():
            if listeners is role.listeners:
                own = listeners.keep_only(index)
            else:
                listeners.close()
        return own
