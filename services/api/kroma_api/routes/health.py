"""``/health`` and what is below it."""

import time
from http import HTTPStatus
from typing import Annotated, Final

from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from kroma import __version__
from kroma_api.dependencies import Ready
from kroma_api.route_facts import NO_TOKEN, Idempotency, route
from kroma_api.schemas.health import HealthResponse, LiveResponse, NotReadyResponse, ReadyResponse

STARTED_UNIX_MS: Final = time.time_ns() // 1_000_000
_ANSWERS: Final = {
    HTTPStatus.OK.value: ResponseSpec(
        ReadyResponse, generate_examples=False, description="Every part that was asked is well"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE.value: ResponseSpec(
        NotReadyResponse, generate_examples=False, description="A part is not well; `error` names each"
    ),
}
Without = Annotated[
    str | None,
    QueryParameter(description="Checks to leave out, with commas between: `worker,queue`"),
]


@get("/health", opt=route(scope=NO_TOKEN, idempotency=Idempotency.READ, contract="3.1"))
async def get_health(state: State) -> HealthResponse:
    """Say that the process answers; it needs no token and looks at nothing else."""
    return HealthResponse(
        version=__version__, started_unix_ms=STARTED_UNIX_MS, route_count=state["contract_routes"]
    )


@get("/health/live", opt=route(scope=NO_TOKEN, idempotency=Idempotency.READ, contract=None))
async def get_live() -> LiveResponse:
    """Say that the process answers, whatever it stands on; it needs no token."""
    return LiveResponse()


@get(
    "/health/ready",
    opt=route(scope=NO_TOKEN, idempotency=Idempotency.READ, contract=None),
    responses=_ANSWERS,
)
async def get_ready(
    readiness: Ready, without: Without = None
) -> Response[ReadyResponse] | Response[NotReadyResponse]:
    """Look at what the service stands on: 200 when all of it is well, else 503; it needs no token.

    Each part has two seconds to answer, and an answer stands for one: asking often asks nobody more often.
    """
    checks = await readiness.checks(without=without)
    failed = [check.name for check in checks if not check.ok]
    if not failed:
        return Response(ReadyResponse(checks=checks))
    body = NotReadyResponse(error=f"Not ready: {', '.join(failed)}", checks=checks)
    return Response(body, status_code=HTTPStatus.SERVICE_UNAVAILABLE)


router = Router("/", route_handlers=[get_health, get_live, get_ready], tags=["system"])
