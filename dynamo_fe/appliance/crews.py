"""Which crews there are: the helpers, the generation that serves, the one that is to take over, those that leave."""

from collections.abc import Iterable, Iterator, Sequence
from socket import socket
from typing import Final

from dynamo_fe.appliance.control import Control, Place, Reports
from dynamo_fe.appliance.crew import Crew
from dynamo_fe.appliance.heartbeat import Heartbeats
from dynamo_fe.appliance.process_name import name_process
from dynamo_fe.appliance.role import Role
from dynamo_fe.appliance.slot import Slot

_GENERATIONS: Final = 2


class Crews:
    """Makes the crews of the roles and says what each child may touch of what the supervisor holds."""

    def __init__(self, roles: Sequence[Role], reports: Reports) -> None:
        self._reports = reports
        self._listeners = {id(role.listeners): role.listeners for role in roles if role.listeners is not None}
        self._pulses = Heartbeats(sum(role.seats for role in roles)).pulses
        self._first_place: dict[str, int] = {}
        for role in roles:
            self._first_place[role.name] = sum(earlier.seats for earlier in roles[: roles.index(role)])
        self._generation = 0
        self.serving = Crew(self._slots(role for role in roles if role.serves))
        self.helping = Crew(self._slots(role for role in roles if not role.serves))
        self.coming = Crew()
        self.leaving = Crew()

    @property
    def requests(self) -> tuple[Crew, Crew, Crew]:
        """Those that may have requests in hand."""
        return self.serving, self.coming, self.leaving

    def __iter__(self) -> Iterator[Crew]:
        return iter((*self.requests, self.helping))

    @property
    def reloading(self) -> bool:
        """Whether two generations of those that serve are alive."""
        return bool(self.coming) or self.leaving.alive

    def prepare(self, roles: Sequence[Role]) -> None:
        """The next generation: the same roles as before, running something else."""
        self._generation = (self._generation + 1) % _GENERATIONS
        self.coming = Crew(self._slots(role for role in roles if role.serves))

    def hand_over(self) -> None:
        """The next generation becomes the one that serves."""
        self.leaving, self.serving, self.coming = self.serving, self.coming, Crew()

    def take_back(self) -> None:
        """The next generation has failed."""
        self._generation = (self._generation - 1) % _GENERATIONS
        self.leaving, self.coming = self.coming, Crew()

    def close_sockets(self) -> None:
        """From now on the children alone decide how long connections are taken."""
        for listeners in self._listeners.values():
            listeners.close_sockets()

    def close(self) -> None:
        for listeners in self._listeners.values():
            listeners.close()

    def _slots(self, roles: Iterable[Role]) -> Iterator[Slot]:
        for role in roles:
            for index in range(role.count):
                seat = index + (self._generation * role.count if role.serves else 0)
                yield self._slot(role, Place(index, role.count, seat, role.seats))

    def _slot(self, role: Role, place: Place) -> Slot:
        pulse = self._pulses[self._first_place[role.name] + place.seat]

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
