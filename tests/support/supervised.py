"""A supervisor with stand-in workers, as a process of its own: `python -m tests.support.supervised BEHAVIOUR ...`.

A stand-in worker answers each connection to the one word it sends: `pid` with its process id, `seat` with its seat,
`die` by ending with exit code 3, `hang` by never doing anything again. It says on stderr when it starts and ends. A
reload makes the workers behave as the file `NEXT_BEHAVIOUR` names says, and has the kinds of helpers that follow there
(one called `helper` where none does; `helper=x` is the same made from something else); without the file it is refused.
"""

import logging
import os
import select
import signal
import sys
import time
from pathlib import Path

from dynamo_fe.appliance.control import Control
from dynamo_fe.appliance.listeners import inherit_listeners, open_listeners
from dynamo_fe.appliance.notify import Notifier
from dynamo_fe.appliance.role import Role, RunChild
from dynamo_fe.appliance.supervisor import HAND_OVER_SIGNAL, HOPELESS_EXIT_CODE, ReloadRefused, Supervisor


def say(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def answer(control: Control) -> None:
    assert control.listener is not None
    connection, _ = control.listener.accept()
    with connection:
        match connection.recv(100):
            case b"die":
                os._exit(3)
            case b"pid":
                connection.sendall(str(os.getpid()).encode())
            case b"seat":
                connection.sendall(str(control.place.seat).encode())
            case b"hang":
                time.sleep(600)


def catch_stop_signals() -> int:
    """From here on they make the file descriptor returned readable, and do nothing else."""
    wake, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for signum in (signal.SIGTERM, HAND_OVER_SIGNAL):
        signal.signal(signum, lambda *_: None)
    return wake


def answer_until(wake: int, control: Control) -> None:
    listener = control.listener
    assert listener is not None
    listener.setblocking(False)
    while True:
        control.beat()
        readable, _, _ = select.select([listener.fileno(), wake], [], [], 0.05)
        if wake in readable:
            return
        if readable:
            try:
                answer(control)
            except BlockingIOError:
                continue


def orderly(control: Control) -> int:
    wake = catch_stop_signals()
    say(f"worker {control.place.index} {os.getpid()}")
    control.status(f"process {os.getpid()} waits for a word")
    control.ready()
    answer_until(wake, control)
    say(f"worker {control.place.index} ends")
    return 0


def stubborn(control: Control) -> int:
    for signum in (signal.SIGTERM, HAND_OVER_SIGNAL):
        signal.signal(signum, signal.SIG_IGN)
    say(f"worker {control.place.index} {os.getpid()}")
    control.ready()
    while True:
        signal.pause()


def once(control: Control) -> int:
    """Orderly, but a child that comes after another one is never ready."""
    lives = Path(os.environ["LIVES"]) / str(control.place.index)
    if lives.exists():
        return silent(control)
    lives.touch()
    return orderly(control)


def silent(control: Control) -> int:
    """Never ready."""
    catch_stop_signals()
    say(f"worker {control.place.index} {os.getpid()}")
    while True:
        signal.pause()


def closes_port_first(control: Control) -> int:
    """On SIGTERM it closes the port, says so, and then hangs."""
    wake = catch_stop_signals()
    control.ready()
    say(f"worker {control.place.index} {os.getpid()}")
    answer_until(wake, control)
    assert control.listener is not None
    control.listener.close()
    say("port closed")
    while True:
        time.sleep(60)


def fails_to_start(control: Control) -> int:
    control.status("knows nothing yet")
    say("start")
    return 3


def raises(control: Control) -> int:
    raise RuntimeError("a defect")


def hopeless(control: Control) -> int:
    say("start")
    return HOPELESS_EXIT_CODE


def fails_to_stop(control: Control) -> int:
    orderly(control)
    return 5


def helper(name: str) -> RunChild:
    def run(control: Control) -> int:
        wake = catch_stop_signals()
        say(f"{name} {os.getpid()}")
        select.select([wake], [], [])
        say(f"{name} ends")
        return 0

    return run


BEHAVIOURS: dict[str, RunChild] = {
    each.__name__: each
    for each in (orderly, stubborn, silent, once, closes_port_first, fails_to_start, raises, hopeless, fails_to_stop)
}


def main(behaviour: str, workers: str, helpers: str, grace_secs: str, heartbeat_secs: str) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    notifier = Notifier(os.environ)
    listeners = inherit_listeners(os.environ, int(workers)) or open_listeners("127.0.0.1", 0, int(workers), 128)
    say(f"port {listeners.port}")

    def roles(name: str, *kinds: str) -> list[Role]:
        run = BEHAVIOURS[name]
        watched = run is orderly
        grace = float(grace_secs)
        return [
            *(
                Role(kind.partition("=")[0], helper(kind), int(helpers), made_from=kind)
                for kind in kinds or ("helper",)
            ),
            Role("worker", run, int(workers), listeners=listeners, serves=True, watched=watched, grace_secs=grace),
        ]

    def reload() -> list[Role]:
        path = Path(os.environ.get("NEXT_BEHAVIOUR", "/nowhere"))
        if not path.exists():
            raise ReloadRefused("there is no next behaviour")
        return roles(*path.read_text().split())

    return Supervisor(
        roles(behaviour),
        notifier=notifier,
        heartbeat_secs=float(heartbeat_secs),
        on_serving=lambda: say("serving"),
        reload=reload,
    ).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
