"""Runs the fake API server until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
from pathlib import Path

from tests.support.fake_kube.server import FakeKube


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fake_kube")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, help="file to append every request, response and watch event to")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--plain-port", type=int, help="another port that stays without TLS")
    parser.add_argument("--tokens", help="comma separated bearer tokens that are accepted; any without it")
    parser.add_argument("--bookmark-every", type=float, default=60.0)
    parser.add_argument("--state", type=Path, help="file to start from if it is there, written at the end")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> None:
    tokens = arguments.tokens.split(",") if arguments.tokens else None
    server = FakeKube(arguments.log, tokens, arguments.bookmark_every)
    if arguments.state and arguments.state.exists():
        server.store.load(json.loads(arguments.state.read_text()))
    tls = None
    if arguments.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.tls_cert, arguments.tls_key)
        tls.set_alpn_protocols(["http/1.1"])
    await server.listen(arguments.host, arguments.port, tls)
    if arguments.plain_port:
        await server.listen(arguments.host, arguments.plain_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"fake kube on {arguments.port}", flush=True)
    await stop.wait()
    if arguments.state:
        arguments.state.write_text(json.dumps(server.store.dump()))
    # Open watches get no word of the end.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main(_arguments()))
