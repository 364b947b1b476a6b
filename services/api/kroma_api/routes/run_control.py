"""Stopping, repeating and pausing work."""

from http import HTTPStatus
from typing import Final

from litestar import Response, Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from kroma.auth.scopes import Scope
from kroma.pipeline.control import cancel, pause, rerun, retry
from kroma.pipeline.control.derived_run import Spending
from kroma.runs.models import Run
from kroma_api.dependencies import (
    AppSettings,
    CurrentCaller,
    Db,
    IdempotencyId,
    Providers,
    Queue,
    Stores,
)
from kroma_api.route_facts import Idempotency, route
from kroma_api.routes.runs import RETRY_AFTER_S
from kroma_api.schemas.run_control import (
    CancelRunResponse,
    PausedProjectResponse,
    PausedProjectView,
    PauseProjectRequest,
    RepeatRunResponse,
    RerunRunRequest,
    RetryRunRequest,
)
from kroma_api.schemas.runs import RunView

_ACCEPTED: Final = {
    HTTPStatus.ACCEPTED.value: ResponseSpec(
        RepeatRunResponse, generate_examples=False, description="The new run, queued"
    )
}


@post(
    "/runs/{run_id:str}/cancel",
    opt=route(scope=Scope.CREATE, idempotency=Idempotency.REPLAYED, contract=None),
    status_code=HTTPStatus.OK,
)
async def cancel_run(
    slug: FromPath[str], run_id: FromPath[str], db: Db, stores: Stores, caller: CurrentCaller
) -> CancelRunResponse:
    """End a run early: at once where nothing of it is under way; one that has ended stays as it is.

    After this answer no call that costs money is begun. A call in flight is awaited and its picture kept.
    """
    run = await cancel.cancel_run(db, stores, slug=slug, run_id=run_id, actor=caller.user_id)
    return CancelRunResponse(run=RunView.of(run))


@post(
    "/runs/{run_id:str}/retry",
    opt=route(
        scope=Scope.CREATE, idempotency=Idempotency.REBUILT, contract=None, example={"confirm_spend": True}
    ),
    status_code=HTTPStatus.ACCEPTED,
    responses=_ACCEPTED,
)
async def retry_run(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    data: JSONBody[RetryRunRequest],
    db: Db,
    queue: Queue,
    stores: Stores,
    providers: Providers,
    caller: CurrentCaller,
    idempotency_id: IdempotencyId,
) -> Response[RepeatRunResponse]:
    """Make the failed jobs of a run again, in a new run; what was made for them is not paid again."""
    spending = _spending(data, providers, caller, idempotency_id)
    run = await retry.retry_run(db, queue, stores, slug=slug, run_id=run_id, spending=spending)
    return _accepted(run)


@post(
    "/runs/{run_id:str}/rerun",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REBUILT,
        contract=None,
        example={"confirm_spend": True, "candidates": 3},
    ),
    status_code=HTTPStatus.ACCEPTED,
    responses=_ACCEPTED,
)
async def rerun_run(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    data: JSONBody[RerunRunRequest],
    db: Db,
    queue: Queue,
    stores: Stores,
    settings: AppSettings,
    providers: Providers,
    caller: CurrentCaller,
    idempotency_id: IdempotencyId,
) -> Response[RepeatRunResponse]:
    """Run again by a run's own plan, with changes; what follows from the same inputs is not made again."""
    spending = _spending(data, providers, caller, idempotency_id)
    run = await rerun.rerun_run(
        db,
        queue,
        stores,
        settings,
        slug=slug,
        run_id=run_id,
        changes=data,
        is_confined=caller.is_confined,
        spending=spending,
        job_id=data.job_id,
    )
    return _accepted(run)


@post(
    "/pause",
    opt=route(
        scope=Scope.SPEND,
        idempotency=Idempotency.REPLAYED,
        contract=None,
        example={"reason": "The studio is moving"},
    ),
    status_code=HTTPStatus.OK,
)
async def pause_project(
    slug: FromPath[str], data: JSONBody[PauseProjectRequest], db: Db, caller: CurrentCaller
) -> PausedProjectResponse:
    """Begin nothing more in a project: its runs wait, and what is under way goes back to the queue."""
    project = await pause.pause_project(db, slug=slug, reason=data.reason, actor=caller.user_id)
    return PausedProjectResponse(project=PausedProjectView.of(project))


@post(
    "/resume",
    opt=route(scope=Scope.SPEND, idempotency=Idempotency.REPLAYED, contract=None),
    status_code=HTTPStatus.OK,
)
async def resume_project(
    slug: FromPath[str], db: Db, queue: Queue, caller: CurrentCaller
) -> PausedProjectResponse:
    """Go on with a project that was paused."""
    project = await pause.resume_project(db, queue, slug=slug, actor=caller.user_id)
    return PausedProjectResponse(project=PausedProjectView.of(project))


def _spending(
    data: RetryRunRequest | RerunRunRequest,
    providers: Providers,
    caller: CurrentCaller,
    idempotency_id: IdempotencyId,
) -> Spending:
    return Spending(
        providers=providers,
        is_confirmed=data.confirm_spend is True,
        caller=caller,
        idempotency_id=idempotency_id,
    )


def _accepted(run: Run) -> Response[RepeatRunResponse]:
    reply = RepeatRunResponse.of(run)
    headers = {"Location": reply.links.self, "Retry-After": str(RETRY_AFTER_S)}
    return Response(reply, status_code=HTTPStatus.ACCEPTED, headers=headers)


router = Router(
    "/api/projects/{slug:str}",
    route_handlers=[cancel_run, retry_run, rerun_run, pause_project, resume_project],
    tags=["control"],
)
