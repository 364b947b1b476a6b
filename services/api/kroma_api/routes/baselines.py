"""Choosing candidates, and locking what was chosen as the baseline of its scene."""

from http import HTTPStatus
from typing import Annotated

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from kroma.auth.scopes import Scope
from kroma.baselines import queries
from kroma.pipeline.control import baseline, select
from kroma.pipeline.control.derived_run import Spending
from kroma.projects.queries import get_project_id
from kroma_api.dependencies import CurrentCaller, Db, Providers, Queue, Stores
from kroma_api.http.pagination import After, Limit, window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.routes.runs import RETRY_AFTER_S
from kroma_api.schemas.baselines import (
    BaselineView,
    ListBaselinesResponse,
    LockBaselineRequest,
    LockBaselineResponse,
    SelectCandidateRequest,
    SelectCandidateResponse,
)

History = Annotated[
    bool | None, QueryParameter(description="`1` lists those, too, whose place a later lock took")
]


@post(
    "/runs/{run_id:str}/jobs/{job_id:str}/select",
    opt=route(
        scope=Scope.REVIEW,
        idempotency=Idempotency.REPLAYED,
        contract=None,
        example={"candidate_index": 2, "note": "The braid is right in this one"},
    ),
    status_code=HTTPStatus.OK,
    responses={
        HTTPStatus.OK: ResponseSpec(
            SelectCandidateResponse, generate_examples=False, description="There is nothing left to make"
        ),
        HTTPStatus.ACCEPTED: ResponseSpec(
            SelectCandidateResponse, generate_examples=False, description="Post-processing is queued"
        ),
    },
)
async def select_candidate(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    job_id: FromPath[str],
    data: JSONBody[SelectCandidateRequest],
    db: Db,
    queue: Queue,
    providers: Providers,
    caller: CurrentCaller,
) -> Response[SelectCandidateResponse]:
    """Approve a candidate in place of the job's winner; the run must have ended.

    Where the run post-processes winners and the candidate has no such file yet, a follow-up run of one job
    is queued that goes on from its picture. It is free unless a tool of it costs money.
    """
    spending = Spending(
        providers=providers,
        is_confirmed=data.confirm_spend is True,
        caller=caller,
        idempotency_id=None,
    )
    choice = await select.select_candidate(
        db,
        queue,
        slug=slug,
        run_id=run_id,
        job_id=job_id,
        candidate_index=data.candidate_index,
        note=data.note,
        spending=spending,
    )
    reply = SelectCandidateResponse.of(choice)
    if reply.follow_up is None or reply.follow_up.run.done:
        return Response(reply, status_code=HTTPStatus.OK)
    headers = {"Location": reply.follow_up.links.self, "Retry-After": str(RETRY_AFTER_S)}
    return Response(reply, status_code=HTTPStatus.ACCEPTED, headers=headers)


@post(
    "/runs/{run_id:str}/lock-baseline",
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REPLAYED,
        contract=None,
        example={"note": "Approved by Mara"},
    ),
    status_code=HTTPStatus.OK,
)
async def lock_baseline(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    data: JSONBody[LockBaselineRequest],
    db: Db,
    stores: Stores,
    caller: CurrentCaller,
) -> LockBaselineResponse:
    """Lock the selected pictures of a run that has ended, each for the content of its scene.

    A later lock for the same scene takes the place of an earlier one, which stays in the history. Later
    runs of the scene are measured against its baseline, and `baseline_run_id` of a trigger goes on from it.
    """
    locked = await baseline.lock_baseline(
        db,
        stores,
        slug=slug,
        run_id=run_id,
        job_keys=data.job_keys,
        note=data.note,
        actor=caller.user_id,
    )
    return LockBaselineResponse.of(locked)


@get("/baselines", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract=None))
async def list_baselines(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None, history: History = None
) -> ListBaselinesResponse:
    """The baselines of a project, last locked first."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        rows = await queries.list_baselines(
            reader, project_id, with_history=history is True, window=window(limit, after)
        )
    return ListBaselinesResponse(
        count=len(rows), next=rows.following, baselines=[BaselineView.of(row) for row in rows]
    )


router = Router(
    "/api/projects/{slug:str}",
    route_handlers=[select_candidate, lock_baseline, list_baselines],
    tags=["baselines"],
)
