"""What kinds of children there are. A new kind is one `Role` more in the list that the supervisor is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.listeners import Listeners

RunChild = Callable[[Control], int]

# So many of a serving role may live at once: one that serves, one that is to take over, one that ends its requests.
GENERATIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of child process: `count` children that run `run` and end with the exit code it returns.

    With `listeners`, which have a socket for each of them, child i gets socket i. A role that `serves` takes requests:
    the service counts as up when its first child is ready, a reload replaces all of its children by new ones, and at
    the end it is stopped first and given `grace_secs` to finish; the other roles live on until it has gone. A child
    that is `watched` must call `Control.beat` and is replaced when it has not for too long. `on_end` is called in the
    supervisor with the seat of a child that has ended, in whatever way. A reload that makes a helper from something
    else than before begins it anew, once the new generation serves.
    """

    name: str
    run: RunChild
    count: int = 1
    listeners: Listeners | None = None
    serves: bool = False
    watched: bool = False
    grace_secs: float = 5.0
    on_end: Callable[[int], None] = lambda seat: None
    made_from: object = None

    @property
    def seats(self) -> int:
        """So many children may live at once."""
        return GENERATIONS * self.count if self.serves else self.count
