"""Which crews there are: the helpers, the generation that serves, the one that is to take over, those that end."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from socket import socket

from dynamo_fe.appliance.control import Control, Place, Reports
from dynamo_fe.appliance.crew import Crew
from dynamo_fe.appliance.heartbeat import Heartbeats, Pulse
from dynamo_fe.appliance.listeners import Door
from dynamo_fe.appliance.process_name import name_process
from dynamo_fe.appliance.role import GENERATIONS, Role
from dynamo_fe.appliance.slot import Slot


class Crews:
    """Makes the crews of the roles and says what each child may touch of what the supervisor holds.

    `leaving` are the generations that served, as long as one of them may live, `retiring` helpers that are not wanted
    any more.
    """

    def __init__(self, roles: Sequence[Role], reports: Reports) -> None:
        self._reports = reports
        self._listeners = {id(role.listeners): role.listeners for role in roles if role.listeners is not None}
        self._pulses: dict[str, list[Pulse]] = {}
        self.serving = self._generation_of(roles, 0)
        self._roles = self._next_roles = _by_name(roles)
        self._helpers: dict[str, list[Slot]] = {}
        self._helpers = self._helpers_of(roles)
        self._next_helpers = self._helpers
        self.helping = Crew(chain(*self._helpers.values()))
        self.coming = Crew()
        self.leaving: tuple[Crew, ...] = ()
        self.retiring = Crew()

    @property
    def requests(self) -> tuple[Crew, ...]:
        """Those that may have requests in hand."""
        return self.serving, self.coming, *self.leaving

    def __iter__(self) -> Iterator[Crew]:
        return iter((*self.requests, self.helping, self.retiring))

    @property
    def changeable(self) -> bool:
        """Whether another generation may come now: so many live at most, and a helper must have gone before another
        does the same.
        """
        return not self.coming and not self.retiring.alive and self._free_generation() is not None

    def find(self, pid: int) -> tuple[Crew, Slot] | None:
        """Where a child belongs."""
        return next(((crew, slot) for crew in self for slot in crew if slot.pid == pid), None)

    def prepare(self, roles: Sequence[Role]) -> None:
        """The next generation: the same roles that serve as before, running something else. Helpers of before go on;
        those that are new help all generations. To be called only while `changeable`.
        """
        generation = self._free_generation()
        assert generation is not None
        self.leaving = tuple(crew for crew in self.leaving if crew.alive)
        self.coming = self._generation_of(roles, generation)
        self._next_roles = _by_name(roles)
        self._next_helpers = self._helpers_of(roles)
        self.helping = Crew(chain(*(self._helpers | self._next_helpers).values()))

    def hand_over(self) -> Crew:
        """The next generation becomes the one that serves; the last one of `leaving` is that which did. Returns the
        helpers that are to run something else from now on.
        """
        changed = Crew(chain(*map(self._changed, self._next_roles.values())))
        self._roles = self._next_roles
        self.leaving, self.serving, self.coming = (*self.leaving, self.serving), self.coming, Crew()
        self._retire(self._next_helpers, self._helpers)
        return changed

    def take_back(self) -> None:
        """The next generation has failed, and is the last one of `leaving`."""
        self.leaving, self.coming = (*self.leaving, self.coming), Crew()
        self._next_roles = self._roles
        self._retire(self._helpers, self._next_helpers)

    def steer(self) -> None:
        """New connections go to those that are ready and do not leave."""
        doors = [slot.door for slot in chain(self.serving, self.coming) if slot.ready and slot.door]
        for listeners in self._listeners.values():
            listeners.steer(frozenset(door.number for door in doors if door.listeners is listeners))

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

    def _changed(self, role: Role) -> Iterator[Slot]:
        """The helpers of a role that was there before, made from something else: with what they run now."""
        before = self._roles.get(role.name)
        if before is not None and before.made_from != role.made_from:
            for slot, fresh in zip(self._helpers[role.name], self._slots([role]), strict=True):
                slot.body = fresh.body
                yield slot

    def _free_generation(self) -> int | None:
        """The first of which nobody lives."""
        taken = {crew.generation for crew in self.leaving if crew.alive} | {self.serving.generation}
        return next((number for number in range(GENERATIONS) if number not in taken), None)

    def _generation_of(self, roles: Iterable[Role], number: int) -> Crew:
        return Crew(self._slots((role for role in roles if role.serves), number), number)

    def _slots(self, roles: Iterable[Role], generation: int = 0) -> Iterator[Slot]:
        for role in roles:
            for index in range(role.count):
                seat = index + generation * role.count
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
        watched = pulse if role.watched else None
        door = None if role.listeners is None else Door(role.listeners, place.index)
        return Slot(name, body, role.grace_secs, watched, lambda: role.on_end(place.seat), door)

    def _keep_only(self, role: Role, index: int) -> socket | None:
        own = None
        for listeners in self._listeners.values():
            if listeners is role.listeners:
                own = listeners.keep_only(index)
            else:
                listeners.close()
        return own


def _by_name(roles: Iterable[Role]) -> dict[str, Role]:
    """Those of helpers."""
    return {role.name: role for role in roles if not role.serves}
