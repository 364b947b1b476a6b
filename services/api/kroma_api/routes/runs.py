"""``/api/projects/{slug}/runs``."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from kroma.aside import aside
from kroma.auth.scopes import Scope
from kroma.db.engine import Database
from kroma.pipeline.control import trigger
from kroma.pipeline.control.progress import RunProgress, progress_of_new, read_progress, read_version
from kroma.pipeline.control.wait import wait_for_end
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.pipeline.planning.validate import validate_config
from kroma.projects.queries import get_project, get_project_id
from kroma.runs import queries
from kroma.runs.events import list_events
from kroma.runs.logs import read_run_log
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunCandidate, RunJob, RunMode, RunStatus, Stage
from kroma_api.dependencies import (
    AppSettings,
    Cpu,
    CurrentCaller,
    CurrentSlot,
    Db,
    IdempotencyId,
    Providers,
    Queue,
    Stores,
    Watch,
)
from kroma_api.http import event_stream
from kroma_api.http.etag import IfNoneMatch, entity_tag, is_known
from kroma_api.http.event_headers import LAST_EVENT, Accept, AfterEvent, LastEventId, event_number
from kroma_api.http.pagination import DEFAULT_RUNS, MAX_RUNS, After, Limit, one_of, open_window, window
from kroma_api.http.prefer import preferred_wait
from kroma_api.route_facts import VIEW, Idempotency, Payload, route
from kroma_api.schemas.runs import (
    ConfigSummaryView,
    JobView,
    ListJobsResponse,
    ListRunEventsResponse,
    ListRunsResponse,
    RunDetail,
    RunEventView,
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

_OK_RUN: Final = {
    HTTPStatus.OK.value: ResponseSpec(
        RunResponse, generate_examples=False, description="The run, with its jobs"
    )
}
_OK_JOBS: Final = {
    HTTPStatus.OK.value: ResponseSpec(
        ListJobsResponse, generate_examples=False, description="The jobs of the run"
    )
}


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.7"))
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
    opt=route(
        scope=Scope.CREATE,
        idempotency=Idempotency.REBUILT,
        contract="3.8",
        example={
            "mode": "run",
            "confirm_spend": True,
            "input": "scenes",
            "style_refs": ["styles/ink.png"],
            "candidates": 2,
        },
    ),
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
    cpu: Cpu,
    caller: CurrentCaller,
    idempotency_id: IdempotencyId,
    slot: CurrentSlot,
    prefer: Prefer = None,
) -> Response[TriggerRunResponse]:
    """Plan a run and queue it: the contract's 400s first, then 404 without the project."""
    spec = await aside(len(data.scene_refs or ()), RunSpec.checked, data)
    run = await trigger.trigger_run(
        db,
        queue,
        stores,
        settings,
        slug=slug,
        spec=spec,
        providers=providers,
        cpu=cpu,
        quote_token=data.quote_token,
        caller=caller,
        idempotency_id=idempotency_id,
    )
    # A run that an earlier request with the same key made comes without its jobs.
    is_new = "jobs" in vars(run)
    progress = progress_of_new(run) if is_new else (await _detail(db, slug, str(run.id))).progress
    reply = TriggerRunResponse.of(run, progress)
    headers = {"Location": reply.links.self}
    wait = preferred_wait(prefer)
    # A preference may be left aside: where too many wait, nobody is refused for it.
    if wait is not None and slot.may_wait() and await wait_for_end(db, run.id, timeout=wait):
        async with db.transaction() as session:
            ended = await queries.get_run(session, slug=slug, run_id=str(run.id))
        progress = (await _detail(db, slug, str(run.id))).progress
        headers["Preference-Applied"] = f"wait={wait.seconds}"
        return Response(TriggerRunResponse.of(ended, progress), status_code=HTTPStatus.OK, headers=headers)
    headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(reply, status_code=HTTPStatus.ACCEPTED, headers=headers)


@post(
    "/validate-config",
    opt=route(
        scope=Scope.READ,
        idempotency=Idempotency.READ,
        contract="3.9",
        example={"project_settings_path": ".kroma/pipeline.settings.json"},
    ),
    status_code=HTTPStatus.OK,
)
async def check_config(
    *,
    slug: FromPath[str],
    data: JSONBody[ValidateConfigRequest],
    db: Db,
    stores: Stores,
    settings: AppSettings,
    caller: CurrentCaller,
) -> ValidateConfigResponse:
    """Load settings, manifest and postprocess config as a run would, without planning one."""
    summary = await validate_config(db, stores, settings, slug=slug, raw=data, is_confined=caller.is_confined)
    return ValidateConfigResponse(summary=ConfigSummaryView.from_row(summary))


class _Detail(NamedTuple):
    run: Run
    jobs: Sequence[RunJob]
    candidates: Mapping[UUID, Sequence[RunCandidate]]
    progress: RunProgress


async def _detail(db: Database, slug: str, run_id: str) -> _Detail:
    async with db.reading() as reader:
        run = await queries.get_run(reader, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(reader, run.id)
        candidates = await queries.list_candidates(reader, jobs)
        return _Detail(run, jobs, candidates, await read_progress(reader, run, jobs, candidates))


@get(
    "/{run_id:str}",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.7", etag=True),
    responses=_OK_RUN,
)
async def get_run(
    slug: FromPath[str], run_id: FromPath[str], db: Db, if_none_match: IfNoneMatch = None
) -> Response[RunResponse]:
    """A run with its jobs and their candidates, and how far it is.

    `queue_position`, `spend` and what a provider says in `reason` may change without a new `ETag`.
    """
    tag = entity_tag(await read_version(db, slug=slug, run_id=run_id))
    if is_known(if_none_match, tag):
        return Response(None, status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})  # pyright: ignore[reportReturnType] - a 304 has no body
    detail = await _detail(db, slug, run_id)
    reply = RunResponse(
        run=RunDetail.showing(detail.run, detail.progress),
        jobs=[JobView.of(job, detail.candidates.get(job.id, ())) for job in detail.jobs],
    )
    return Response(reply, headers={"ETag": tag})


@get(
    "/{run_id:str}/jobs",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.7", etag=True),
    responses=_OK_JOBS,
)
async def list_jobs(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    db: Db,
    limit: Limit = None,
    after: After = None,
    if_none_match: IfNoneMatch = None,
) -> Response[ListJobsResponse]:
    """The jobs of a run, in plan order, with their candidates."""
    tag = entity_tag(await read_version(db, slug=slug, run_id=run_id))
    if is_known(if_none_match, tag):
        return Response(None, status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})  # pyright: ignore[reportReturnType] - a 304 has no body
    async with db.reading() as reader:
        run = await queries.get_run(reader, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(reader, run.id, window=open_window(limit, after))
        candidates = await queries.list_candidates(reader, jobs)
    reply = ListJobsResponse(
        run_id=run_id,
        count=len(jobs),
        next=jobs.following,
        jobs=[JobView.of(job, candidates.get(job.id, ())) for job in jobs],
    )
    return Response(reply, headers={"ETag": tag})


@get(
    "/{run_id:str}/events",
    opt=route(scope=VIEW, idempotency=Idempotency.READ, contract=None, payload=Payload.EVENTS),
    responses={
        HTTPStatus.OK: ResponseSpec(
            ListRunEventsResponse, generate_examples=False, description="Events, oldest first"
        )
    },
)
async def list_run_events(
    *,
    slug: FromPath[str],
    run_id: FromPath[str],
    db: Db,
    watch: Watch,
    settings: AppSettings,
    caller: CurrentCaller,
    accept: Accept = None,
    last_event_id: LastEventId = None,
    limit: Limit = None,
    after: AfterEvent = None,
) -> Response[ListRunEventsResponse]:
    """What happened to a run; as it happens where `Accept` names `text/event-stream`.

    A stream ends with the run, and is 204 when a run that has ended has nothing more to tell: then a
    browser's `EventSource` stays away.
    """
    async with db.reading() as reader:
        run = await queries.get_run(reader, slug=slug, run_id=run_id)
    # A browser that connects again repeats its address, `after` and all.
    behind = event_number(last_event_id) if last_event_id is not None else after or 0
    behind = min(max(behind, 0), LAST_EVENT)
    if accept is None or event_stream.MEDIA_TYPE not in accept.lower():
        asked = window(limit, None)
        shown = await list_events(db, run.id, after=behind, limit=(asked.limit or 0) + 1)
        following = str(shown[-2].seq) if asked.limit is not None and len(shown) > asked.limit else None
        views = [RunEventView.of(event) for event in shown[: asked.limit]]
        return Response(ListRunEventsResponse(run_id=run_id, count=len(views), next=following, events=views))
    is_done = run.status not in OPEN_RUN_STATUSES
    if is_done and not await list_events(db, run.id, after=behind, limit=1):
        return Response(None, status_code=HTTPStatus.NO_CONTENT)  # pyright: ignore[reportReturnType] - a 204 has no body
    stream = event_stream.EventStream(
        db,
        watch,
        run.id,
        after=behind,
        is_done=is_done,
        heartbeat=settings.events_heartbeat,
        is_for_reviewer=not caller.may(Scope.READ),
    )
    return event_stream.EventStreamResponse(stream)


@get("/{run_id:str}/log", opt=route(scope=Scope.READ, idempotency=Idempotency.READ, contract=None))
async def get_run_log(slug: FromPath[str], run_id: FromPath[str], db: Db, stores: Stores) -> RunLogResponse:
    """The record of a run, once it has ended."""
    async with db.transaction() as session:
        run = await queries.get_run(session, slug=slug, run_id=run_id)
        project = await get_project(session, slug)
    run_log = await read_run_log(stores, run, project)
    return RunLogResponse(run_id=run_id, run_log=run_log)


router = Router(
    "/api/projects/{slug:str}/runs",
    route_handlers=[list_runs, trigger_run, check_config, get_run, list_jobs, list_run_events, get_run_log],
    tags=["runs"],
)
