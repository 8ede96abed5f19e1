"""A supervisor with stand-in workers, as a process of its own: `python -m tests.support.supervised BEHAVIOUR ...`.

A stand-in worker answers each connection to the one word it sends: `pid` with its process id, `die` by ending with exit
code 3. It says on stderr when it starts and ends.
"""

import logging
import os
import select
import signal
import socket
import sys
import time

from dynamo_fe.appliance.control import WorkerControl
from dynamo_fe.appliance.listeners import open_listeners
from dynamo_fe.appliance.supervisor import HOPELESS_EXIT_CODE, RunWorker, Supervisor


def say(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        match connection.recv(100):
            case b"die":
                os._exit(3)
            case b"pid":
                connection.sendall(str(os.getpid()).encode())


def catch_sigterm() -> int:
    """From here on SIGTERM makes the file descriptor returned readable, and does nothing else."""
    wake, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda *_: None)
    return wake


def answer_until(wake: int, listener: socket.socket) -> None:
    while True:
        readable, _, _ = select.select([listener.fileno(), wake], [], [])
        if wake in readable:
            return
        answer(listener)


def orderly(index: int, listener: socket.socket, control: WorkerControl) -> int:
    wake = catch_sigterm()
    say(f"worker {index} {os.getpid()}")
    control.ready()
    answer_until(wake, listener)
    say(f"worker {index} ends")
    return 0


def stubborn(index: int, listener: socket.socket, control: WorkerControl) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(f"worker {index} {os.getpid()}")
    control.ready()
    while True:
        signal.pause()


def closes_port_first(index: int, listener: socket.socket, control: WorkerControl) -> int:
    """On SIGTERM it closes the port, says so, and then hangs."""
    wake = catch_sigterm()
    control.ready()
    say(f"worker {index} {os.getpid()}")
    answer_until(wake, listener)
    listener.close()
    say("port closed")
    while True:
        time.sleep(60)


def fails_to_start(index: int, listener: socket.socket, control: WorkerControl) -> int:
    say("start")
    return 3


def raises(index: int, listener: socket.socket, control: WorkerControl) -> int:
    raise RuntimeError("a defect")


def hopeless(index: int, listener: socket.socket, control: WorkerControl) -> int:
    say("start")
    return HOPELESS_EXIT_CODE


def fails_to_stop(index: int, listener: socket.socket, control: WorkerControl) -> int:
    orderly(index, listener, control)
    return 5


def helper() -> int:
    wake = catch_sigterm()
    say(f"helper {os.getpid()}")
    select.select([wake], [], [])
    say("helper ends")
    return 0


BEHAVIOURS: dict[str, RunWorker] = {
    each.__name__: each
    for each in (orderly, stubborn, closes_port_first, fails_to_start, raises, hopeless, fails_to_stop)
}


def main(behaviour: str, workers: str, helpers: str, grace_secs: str) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    listeners = open_listeners("127.0.0.1", 0, int(workers), 128)
    say(f"port {listeners.port}")
    return Supervisor(
        BEHAVIOURS[behaviour],
        listeners,
        helpers=[helper] * int(helpers),
        grace_secs=float(grace_secs),
        on_serving=lambda: say("serving"),
    ).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
