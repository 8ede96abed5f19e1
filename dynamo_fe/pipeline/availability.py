"""Which models would be served now: registered, and not all of their workers set aside after a failure."""

from __future__ import annotations

from dynamo_fe.models.registry import ModelRegistry
from dynamo_fe.models.served import ServedModel
from dynamo_fe.routing.router import Router


class Availability:
    """The registry and the router seen together. One object a process."""

    def __init__(self, registry: ModelRegistry, router: Router) -> None:
        self._registry = registry
        self._router = router

    def servable(self) -> dict[str, ServedModel]:
        """The models that a request would be served by now, by name: at least one worker is not set aside."""
        listing = self._registry.listing()
        out = self._router.left_out()
        if not out:
            return listing
        return {name: model for name, model in listing.items() if not self._all_out(name, out)}

    def is_servable(self, name: str) -> bool:
        """The same for one name."""
        return bool(self._registry.find(name)) and not self._all_out(name, self._router.left_out())

    def set_aside(self) -> list[str]:
        """The names of models none of whose workers is asked for the time being."""
        out = self._router.left_out()
        return [name for name in self._registry.listing() if out and self._all_out(name, out)]

    def _all_out(self, name: str, out: frozenset[int]) -> bool:
        return all(out.issuperset(entry.instances) for entry in self._registry.find(name))
