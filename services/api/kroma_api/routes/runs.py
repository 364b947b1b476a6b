"""``/api/projects/{slug}/runs``."""

from http import HTTPStatus
from typing import Annotated, Final

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from kroma.pipeline import trigger
from kroma.pipeline.order import RunOrder
from kroma.pipeline.validate import validate_config
from kroma.pipeline.wait import wait_for_end
from kroma.projects.queries import get_project, get_project_id
from kroma.runs import queries
from kroma.runs.logs import read_run_log
from kroma.runs.models import RunMode, RunStatus, Stage
from kroma_api.dependencies import (
    AppSettings,
    CurrentCaller,
    Db,
    IdempotencyId,
    Providers,
    Queue,
    Stores,
)
from kroma_api.prefer import preferred_wait
from kroma_api.routes.limits import DEFAULT_RUNS, MAX_RUNS, After, Limit, one_of, open_window, window
from kroma_api.schemas.runs import (
    ConfigSummaryView,
    JobView,
    ListJobsResponse,
    ListRunsResponse,
    RunLogResponse,
    RunResponse,
    RunView,
    TriggerRunRequest,
    TriggerRunResponse,
    ValidateConfigRequest,
    ValidateConfigResponse,
)

RETRY_AFTER_S: Final = 1
"""When it is worth looking at a queued run again."""

Prefer = Annotated[
    str | None,
    HeaderParameter(
        name="Prefer", description="`wait=N` answers 200 if the run ends within N seconds, 60 at most"
    ),
]

StatusFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(RunStatus)}")]
StageFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(Stage)}")]
ModeFilter = Annotated[str | None, QueryParameter(description=f"One of {', '.join(RunMode)}")]


@get("/")
async def list_runs(
    *,
    slug: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    status: StatusFilter = None,
    stage: StageFilter = None,
    mode: ModeFilter = None,
) -> ListRunsResponse:
    """The newest runs of a project, or those of one status, stage or mode."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        wanted = queries.RunFilter(
            status=one_of("status", status, RunStatus),
            stage=one_of("stage", stage, Stage),
            mode=one_of("mode", mode, RunMode),
        )
        asked = window(limit, after, default=DEFAULT_RUNS, largest=MAX_RUNS)
        runs = await queries.list_runs(reader, project_id, wanted=wanted, window=asked)
    return ListRunsResponse(count=len(runs), next=runs.following, runs=[RunView.of(run) for run in runs])


@post(
    "/trigger",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        HTTPStatus.OK: ResponseSpec(
            TriggerRunResponse, generate_examples=False, description="The run ended within the wait"
        )
    },
)
async def trigger_run(
    *,
    slug: FromPath[str],
    data: JSONBody[TriggerRunRequest],
    db: Db,
    queue: Queue,
    stores: Stores,
    settings: AppSettings,
    providers: Providers,
    caller: CurrentCaller,
    idempotency_id: IdempotencyId,
    prefer: Prefer = None,
) -> Response[TriggerRunResponse]:
    """Plan a run and queue it: the contract's 400s first, then 404 without the project."""
    order = RunOrder.checked(data)
    run = await trigger.trigger_run(
        db,
        queue,
        stores,
        settings,
        slug=slug,
        order=order,
        providers=providers,
        quote_token=data.quote_token,
        actor=caller.user_id,
        idempotency_id=idempotency_id,
    )
    reply = TriggerRunResponse.of(run)
    headers = {"Location": reply.links.self}
    wait = preferred_wait(prefer)
    if wait is not None and await wait_for_end(db, run.id, timeout=wait):
        async with db.transaction() as session:
            ended = await queries.get_run(session, slug=slug, run_id=str(run.id))
        headers["Preference-Applied"] = f"wait={wait.seconds}"
        return Response(TriggerRunResponse.of(ended), status_code=HTTPStatus.OK, headers=headers)
    headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(reply, status_code=HTTPStatus.ACCEPTED, headers=headers)


@post("/validate-config", status_code=HTTPStatus.OK)
async def check_config(
    slug: FromPath[str], data: JSONBody[ValidateConfigRequest], db: Db, stores: Stores, settings: AppSettings
) -> ValidateConfigResponse:
    """Load settings, manifest and postprocess config as a run would, without planning one."""
    summary = await validate_config(db, stores, settings, slug=slug, raw=data)
    return ValidateConfigResponse(summary=ConfigSummaryView.of(summary))


@get("/{run_id:str}")
async def get_run(slug: FromPath[str], run_id: FromPath[str], db: Db) -> RunResponse:
    """A run with its jobs and their candidates."""
    async with db.reading() as reader:
        run = await queries.get_run(reader, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(reader, run.id)
        candidates = await queries.list_candidates(reader, jobs)
    return RunResponse(
        run=RunView.of(run), jobs=[JobView.of(job, candidates.get(job.id, ())) for job in jobs]
    )


@get("/{run_id:str}/jobs")
async def list_jobs(
    slug: FromPath[str], run_id: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListJobsResponse:
    """The jobs of a run, in plan order, with their candidates."""
    async with db.reading() as reader:
        run = await queries.get_run(reader, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(reader, run.id, window=open_window(limit, after))
        candidates = await queries.list_candidates(reader, jobs)
    return ListJobsResponse(
        run_id=run_id,
        count=len(jobs),
        next=jobs.following,
        jobs=[JobView.of(job, candidates.get(job.id, ())) for job in jobs],
    )


@get("/{run_id:str}/log")
async def get_run_log(
    slug: FromPath[str], run_id: FromPath[str], db: Db, stores: Stores, settings: AppSettings
) -> RunLogResponse:
    """The record of a run, once it has ended."""
    async with db.transaction() as session:
        run = await queries.get_run(session, slug=slug, run_id=run_id)
        project = await get_project(session, slug)
    run_log = await read_run_log(stores, run, project, data_dir=settings.data_dir)
    return RunLogResponse(run_id=run_id, run_log=run_log)


router = Router(
    "/api/projects/{slug:str}/runs",
    route_handlers=[list_runs, trigger_run, check_config, get_run, list_jobs, get_run_log],
    tags=["runs"],
)
