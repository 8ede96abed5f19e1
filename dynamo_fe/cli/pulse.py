"""What a serving process says of itself while its loop turns: that it lives, and what it serves or waits for."""

from __future__ import annotations

import asyncio
from typing import Final

from dynamo_fe.appliance.control import Control
from dynamo_fe.http.services import Services

_BEAT_SECS: Final = 1.0
_MOST_NAMES: Final = 5


async def pulse(control: Control, services: Services) -> None:
    """Until cancelled. A loop that hangs does not come here, which is how it is found out."""
    while True:
        control.beat()
        control.status(describe(services))
        await asyncio.sleep(_BEAT_SECS)


def describe(services: Services) -> str:
    """One line: the models that are served, or why there is none."""
    names = sorted(services.servable())
    reasons = services.dispatcher.cut_off() + services.reasons()
    if not names:
        return "waiting: " + "; ".join(reasons)
    shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    line = f"serving {len(names)} {'model' if len(names) == 1 else 'models'}: {shown}"
    return "; ".join([line, *reasons])
