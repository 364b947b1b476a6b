"""Requests per second for /health, compared with an empty Litestar handler on the same server.

Both run as separate processes under the embedded granian that the API uses. Eight connections send one
request after the other, each waiting for its response. The same Python client measures both, so its own
cost is part of both figures.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvloop
from figures import line
from stack import running_api, running_stack

TARGET = 0.5
CONNECTIONS = 8
EMPTY = """
import sys, uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, get

@get("/health")
async def empty() -> None: ...

app = Litestar([empty], openapi_config=None, logging_config=None)
server = Server(app, address="127.0.0.1", port=int(sys.argv[1]), interface=Interfaces.ASGINL,
                http=HTTPModes.http1, websockets=False, log_enabled=False)
uvloop.run(server.serve())
"""


@contextmanager
def running_empty() -> Generator[int]:
    """Serve an empty Litestar handler on the same kind of server as the API; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", EMPTY, str(port)])
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


async def _ask(port: int, until: float) -> int:
    """Send requests over one connection; returns the number of responses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"not healthy: {head[:40]!r}")
        _, _, length = head.lower().partition(b"content-length:")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


async def _rate(port: int, seconds: float) -> float:
    started = time.perf_counter()
    answered = await asyncio.gather(*(_ask(port, started + seconds) for _ in range(CONNECTIONS)))
    return sum(answered) / (time.perf_counter() - started)


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating rounds, so that a busy machine slows both; times are per request."""
    rounds, seconds = (1, 0.05) if smoke else (7, 1.0)
    with running_stack() as stack, running_api(stack) as (_, address), running_empty() as empty:
        ours_port = int(address.rpartition(":")[2])
        uvloop.run(_rate(ours_port, seconds / 2))
        uvloop.run(_rate(empty, seconds / 2))
        pairs = [
            (1000 / uvloop.run(_rate(ours_port, seconds)), 1000 / uvloop.run(_rate(empty, seconds)))
            for _ in range(rounds)
        ]
    return line("health", pairs, at_least=TARGET) | {"target": f">={TARGET:g} of its rate"}


if __name__ == "__main__":
    print(json.dumps(measure()))
