"""Workers left out for a while after a failure that speaks against them. Sans I/O: the caller brings the time."""

from __future__ import annotations


class Quarantine:
    """Instance ids set aside for `duration_secs` each; 0 turns it off."""

    def __init__(self, duration_secs: float) -> None:
        self._duration_secs = duration_secs
        self._until: dict[int, float] = {}

    def set_aside(self, instance_id: int, now_secs: float) -> None:
        """Leaves the instance out from now on."""
        if self._duration_secs > 0:
            self._until[instance_id] = now_secs + self._duration_secs

    def release(self, instance_id: int) -> None:
        """Takes it back, for example because it has left discovery."""
        self._until.pop(instance_id, None)

    def left_out(self, now_secs: float) -> frozenset[int]:
        """The ids that are left out now."""
        if not self._until:
            return frozenset()
        self._until = {instance: until for instance, until in self._until.items() if until > now_secs}
        return frozenset(self._until)
