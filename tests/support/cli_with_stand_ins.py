"""The command line with stand-ins for what it starts: `python -m tests.support.cli_with_stand_ins ARGS...`.

The HTTP worker closes every connection after one line with its index and the file_kv it was given; the mock worker
waits for its end.
"""

import asyncio
import signal
import sys
from types import ModuleType

from dynamo_fe.appliance.control import Control
from dynamo_fe.cli.entry import main
from dynamo_fe.config import Settings


async def serve_worker(settings: Settings, control: Control, shared: object, grpc: object) -> int:
    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{control.place.index} of {control.place.count} {settings.file_kv}\n".encode())
        writer.close()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with await asyncio.start_server(answer, sock=control.listener):
        control.ready()
        await ended.wait()
    return 0


def run(argv: list[str]) -> int:
    signal.pause()
    return 0


if __name__ == "__main__":
    for name, function in (("dynamo_fe.cli.serve", serve_worker), ("dynamo_fe.workers.command", run)):
        module = ModuleType(name)
        setattr(module, function.__name__, function)
        sys.modules[name] = module
    sys.exit(main())
