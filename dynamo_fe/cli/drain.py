"""The end of a serving process: refuse what is new, let what runs come to its end, then end it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from dynamo_fe.cli.http_server import HttpServer
from dynamo_fe.http.services import Services
from dynamo_fe.pipeline.refusal import Refusal

_log = logging.getLogger("dynamo_fe.serve")

# for the last words of requests that were ended, and for connections whose clients do not read
_LAST_SECS: Final = 4.0


async def drain(services: Services, refuse_secs: float, limit_secs: float) -> None:
    """Returns when no request is in hand; running ones are ended with an error after `limit_secs`.

    Where there are any, new ones are refused for at least `refuse_secs`, in which whoever spreads the load finds out.
    An idle process ends at once, as the original's does.
    """
    loop = asyncio.get_running_loop()
    services.draining = True
    services.note_idle()
    refuse_until = loop.time() + refuse_secs
    if not services.idle.is_set():
        _log.info("draining %d requests", services.requests_in_hand)
        if not await _idle(services, limit_secs):
            ended = services.lifetimes.end_all(Refusal.shutting_down())
            _log.warning("%d requests were still running after %g s and were ended", ended, limit_secs)
            await _idle(services, _LAST_SECS)
        await asyncio.sleep(refuse_until - loop.time())
    services.lifetimes.close()


async def close(server: HttpServer, serving: asyncio.Task[None]) -> None:
    """Closes the port and the connections; one that its client neither reads nor closes is not waited for."""
    server.stop()
    done, _ = await asyncio.wait([serving], timeout=_LAST_SECS)
    if not done:
        _log.warning("connections of clients that do not read were left open")
        serving.cancel()


async def _idle(services: Services, limit_secs: float) -> bool:
    try:
        async with asyncio.timeout(limit_secs):
            await services.idle.wait()
    except TimeoutError:
        return False
    return True
