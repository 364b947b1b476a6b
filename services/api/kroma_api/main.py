"""The API service: settings, resources, server."""

import asyncio
import gc
import resource
import signal
import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from kroma.config import Bind, Settings, SettingsError
from kroma.entry_point import run_service
from kroma.health.telemetry import serve_telemetry
from kroma.providers import check_default
from kroma.resources import await_database, open_resources
from kroma.runs.events import MAX_WATCHERS
from kroma_api.app import api_readiness, create_app
from kroma_api.http.request_slot import MAX_IN_FLIGHT, MAX_RECEIVING
from kroma_api.memory import give_large_blocks_back
from kroma_api.middleware.in_flight import InFlightRequests

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FIRST_LOOK_S: Final = 0.5
"""What can be known of the database before we listen: then a wrong one is never served."""
GRACE_S: Final = 1.5
"""How long requests in flight may take after SIGTERM."""
MAX_CONNECTIONS: Final = MAX_WATCHERS + MAX_IN_FLIGHT + MAX_RECEIVING + 4096
"""Readers of events, requests, and connections without one: they have sent half a head, or are idle.
The server closes those after ``KROMA_REQUEST_STALL_S`` and does not know whose they are. Beyond this number
it accepts nobody until one goes."""
MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a request's head, and of the pieces in which a body comes. Each connection that has sent half a head has
a buffer of this size: with the server's default of 400 KiB, 3,000 of them took 1.3 GB."""
_OTHER_FILES: Final = 1024
"""Of the database, the store, uploads on disk and the picture processes."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, while the database is still waited for, too.

    The embedded server runs in this process and on this loop: a second process, as granian has
    it by default, would cost another 40 MB for nothing.

    Raises:
        SettingsError: An address, a key or a provider is missing or wrong.
        WrongSchemaError: The database wants to be migrated.
    """
    check_default(settings)
    _refuse_taken_address(settings.bind)
    connections = _allowed_connections()
    give_large_blocks_back()
    async with AsyncExitStack() as opened:
        resources = await opened.enter_async_context(open_resources(settings))
        readiness = api_readiness(resources)
        await opened.enter_async_context(
            serve_telemetry(settings.metrics, service="api", readiness=readiness, db=resources.db)
        )
        awaiting = asyncio.create_task(await_database(resources))
        await asyncio.wait({awaiting}, timeout=FIRST_LOOK_S)
        if awaiting.done():
            awaiting.result()
        in_hand = InFlightRequests()
        server = Server(
            create_app(resources, readiness, in_hand=in_hand),
            address=settings.bind.host,
            port=settings.bind.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            # Else it takes 128 connections: as many readers of events would shut everybody out.
            backlog=1024,
            backpressure=connections,
            http1_settings=HTTP1Settings(
                # From the connection or the last answer to the end of a head: it closes idle ones, too.
                header_read_timeout=int(settings.request_stall / timedelta(milliseconds=1)),
                max_buffer_size=MAX_HEAD_BYTES,
            ),
        )
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        # What start-up made stays: else each full collection walks it, and every caller waits 50 to 60 ms.
        gc.collect()
        gc.freeze()
        serving = asyncio.create_task(server.serve())
        signaled = asyncio.create_task(stopping.wait())
        log.info("serving", address=settings.bind.address)
        await _first_end(serving, signaled, awaiting)
        server.stop()
        in_hand.announce_stop()
        # The server would wait for its requests without an end.
        await asyncio.wait({serving}, timeout=GRACE_S)
        in_hand.stop()
        # A connection whose other side takes nothing stays open for ever.
        await asyncio.wait({serving}, timeout=GRACE_S)
        if serving.done():
            serving.result()
        if awaiting.done():
            awaiting.result()
        awaiting.cancel()


async def _first_end(
    serving: "asyncio.Task[None]", signaled: "asyncio.Task[bool]", awaiting: "asyncio.Task[None]"
) -> None:
    """Wait for the end of one of them; that the database answers is none."""
    ends: set[asyncio.Task[Any]] = {serving, signaled, awaiting}
    while True:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if done != {awaiting} or awaiting.exception() is not None:
            return
        ends.discard(awaiting)


def _allowed_connections() -> int:
    """How many connections fit beside the files that answers need, on this system."""
    # Many systems give a process 1,024 open files until it asks for more.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    # A connection without a file descriptor would be accepted and lost.
    return max(files - _OTHER_FILES, files // 2)


def _refuse_taken_address(bind: Bind) -> None:
    # granian binds with SO_REUSEPORT: a second API would silently share the port with the first.
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.host, bind.port))
        except OSError as exc:
            reason = exc.strerror or exc
            raise SettingsError(f"KROMA_BACKEND_BIND cannot be {bind.address}: {reason}") from exc


def main() -> None:
    """Run the service."""
    run_service("kroma_api", serve)
