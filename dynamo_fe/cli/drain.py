"""The end of a serving process: refuse what is new, or leave it to others; let what runs come to its end; end it."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Final

from dynamo_fe.appliance.supervisor import HAND_OVER_SIGNAL
from dynamo_fe.cli.http_server import HttpServer, NoHttp
from dynamo_fe.http.services import Services
from dynamo_fe.pipeline.refusal import Refusal

_log = logging.getLogger("dynamo_fe.serve")

# for the last words of requests that were ended, and for connections whose clients do not read
_LAST_SECS: Final = 4.0
# for the request on a connection that was taken right before others were to take them
_FIRST_WORDS_SECS: Final = 5.0
_LOOK_SECS: Final = 0.05


class Stop:
    """Set by the supervisor's signals. `handing_over`: others take the new connections, on the same socket."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.handing_over = False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._event.set)
        loop.add_signal_handler(HAND_OVER_SIGNAL, self._hand_over)

    async def wait(self) -> None:
        await self._event.wait()

    def _hand_over(self) -> None:
        self.handing_over = not self._event.is_set()
        self._event.set()


async def depart(services: Services, accept_secs: float) -> None:
    """Says by readiness that the service is to end, and serves on until whoever spreads the load has noticed."""
    services.departing = services.leaving = True
    if accept_secs:
        _log.info("not ready any more; requests are served for another %g s", accept_secs)
        await asyncio.sleep(accept_secs)


async def drain(services: Services, server: HttpServer | NoHttp, refuse_secs: float, limit_secs: float) -> None:
    """Returns when no request is in hand; running ones are ended with an error after `limit_secs`.

    Where there are any, new ones are refused for at least `refuse_secs`, in which whoever spreads the load finds out,
    and those of a client that asks again when it has its answer are too. An idle process ends at once, as the
    original's does.
    """
    loop = asyncio.get_running_loop()
    services.departing = services.draining = services.leaving = True
    services.idle.clear()
    services.note_idle()
    refuse_until = loop.time() + refuse_secs
    if not services.idle.is_set():
        await _finish(services, limit_secs)
        await asyncio.sleep(refuse_until - loop.time())
        while server.hopeful():
            await asyncio.sleep(_LOOK_SECS)
    services.lifetimes.close()
    services.next_turns.close()


async def hand_over(services: Services, server: HttpServer | NoHttp, limit_secs: float) -> None:
    """The same without a refusal: no new connection is taken, and what comes on those that are open is answered: each
    ends with an answer that says so, and one whose last answer did not say it is left a moment for the next request.
    """
    server.stop_accepting()
    services.leaving = True
    now = asyncio.get_running_loop().time
    heard_by, until = now() + _FIRST_WORDS_SECS, now() + limit_secs
    await asyncio.sleep(_LOOK_SECS)
    while services.requests_in_hand or server.hopeful() or now() < heard_by and server.unheard():
        if services.requests_in_hand:
            services.idle.clear()
            await _finish(services, until - now())
            if now() > until:
                break
        else:
            await asyncio.sleep(_LOOK_SECS)
    services.lifetimes.close()
    services.next_turns.close()


async def close(server: HttpServer | NoHttp, serving: asyncio.Task[None]) -> None:
    """Closes the port and the connections; one that its client neither reads nor closes is not waited for."""
    server.stop()
    done, _ = await asyncio.wait([serving], timeout=_LAST_SECS)
    if not done:
        _log.warning("connections of clients that do not read were left open")
        serving.cancel()


async def _finish(services: Services, limit_secs: float) -> None:
    _log.info("draining %d requests", services.requests_in_hand)
    if not await _idle(services, limit_secs):
        ended = services.lifetimes.end_all(Refusal.shutting_down() if services.draining else Refusal.replaced())
        _log.warning("%d requests were still running after %g s and were ended", ended, limit_secs)
        await _idle(services, _LAST_SECS)


async def _idle(services: Services, limit_secs: float) -> bool:
    try:
        async with asyncio.timeout(limit_secs):
            await services.idle.wait()
    except TimeoutError:
        return False
    return True
