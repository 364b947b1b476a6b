"""What an operator sees of a running service, from its start to its end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from kroma import __version__
from kroma.config import MetricsOptions
from kroma.db.engine import Database
from kroma.health.probe import Readiness
from kroma.health.server import HealthServer
from kroma.health.state import InstallationState
from kroma.metrics import BUILD, LOOP_LAG, REGISTRY

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.5


@asynccontextmanager
async def serve_telemetry(
    options: MetricsOptions,
    *,
    service: str,
    readiness: Readiness,
    db: Database,
) -> AsyncGenerator[None]:
    """Show metrics and health while the block runs.

    Args:
        options: Where, if anywhere.
        service: ``api`` or ``worker``.
        readiness: What ``/health/ready`` asks.

    Raises:
        SettingsError: The address that was asked for cannot be had.
    """
    if options.is_off:
        yield
        return
    BUILD.labels(service, __version__).set(1)
    state = InstallationState(db)
    server = HealthServer(options, registry=REGISTRY, readiness=readiness, refresh=state.refresh)
    REGISTRY.register(state)
    log.info("metrics.serving", address=server.bind.address)
    watching = asyncio.create_task(_watch_loop())
    try:
        yield
    finally:
        watching.cancel()
        REGISTRY.unregister(state)
        await server.close()


async def _watch_loop() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
