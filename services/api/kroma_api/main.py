"""The API service: settings, resources, server."""

import asyncio
import signal
import sys
from typing import Final

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from kroma.config import Settings, SettingsError
from kroma.resources import open_resources
from kroma_api import logs
from kroma_api.app import create_app

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EXIT_WRONG_SETTINGS: Final = 2
GRACE_S: Final = 2.5
"""How long requests in hand may take after SIGTERM."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    The embedded server runs in this process and on this loop: a second process, as granian has
    it by default, would cost another 40 MB for nothing.
    """
    async with open_resources(settings) as resources:
        server = Server(
            create_app(settings, resources.db, resources.queue, resources.stores),
            address=settings.bind.host,
            port=settings.bind.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(server.serve())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        log.info("serving", address=settings.bind.address)
        await serving


def main() -> None:
    """Run the service; a wrong environment is one line on standard error and exit code 2."""
    logs.configure()
    try:
        settings = Settings.from_environment()
        uvloop.run(serve(settings))
    except SettingsError as exc:
        sys.stderr.write(f"kroma_api: {exc.message}\n")
        sys.exit(EXIT_WRONG_SETTINGS)
