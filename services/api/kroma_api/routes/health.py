"""``/health``."""

import time
from typing import Final

from litestar import Router, get
from litestar.datastructures import State

from kroma import __version__
from kroma_api.schemas.health import HealthResponse

STARTED_UNIX_MS: Final = time.time_ns() // 1_000_000


@get("/health")
async def get_health(state: State) -> HealthResponse:
    """Say that the process answers; it needs no token and looks at nothing else."""
    return HealthResponse(
        version=__version__, started_unix_ms=STARTED_UNIX_MS, route_count=state["contract_routes"]
    )


router = Router("/", route_handlers=[get_health], tags=["system"])
