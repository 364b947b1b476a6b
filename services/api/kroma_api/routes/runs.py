"""``/api/projects/{slug}/runs``."""

from litestar import Router, get
from litestar.params import FromPath

from kroma.projects.queries import get_project
from kroma.runs import queries
from kroma_api.dependencies import Db
from kroma_api.routes.limits import DEFAULT_RUNS, MAX_RUNS, Limit, clamped
from kroma_api.schemas.runs import JobView, ListJobsResponse, ListRunsResponse, RunResponse, RunView


@get("/")
async def list_runs(slug: FromPath[str], db: Db, limit: Limit = None) -> ListRunsResponse:
    """The newest runs of a project."""
    size = clamped(limit, default=DEFAULT_RUNS, largest=MAX_RUNS)
    async with db.transaction() as session:
        project = await get_project(session, slug)
        runs = await queries.list_runs(session, project.id, limit=size)
    return ListRunsResponse(count=len(runs), runs=[RunView.of(run) for run in runs])


@get("/{run_id:str}")
async def get_run(slug: FromPath[str], run_id: FromPath[str], db: Db) -> RunResponse:
    """A run with its jobs and their candidates."""
    async with db.transaction() as session:
        run = await queries.get_run(session, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(session, run.id)
    return RunResponse(run=RunView.of(run), jobs=[JobView.of(job) for job in jobs])


@get("/{run_id:str}/jobs")
async def list_jobs(slug: FromPath[str], run_id: FromPath[str], db: Db) -> ListJobsResponse:
    """The jobs of a run, in plan order, with their candidates."""
    async with db.transaction() as session:
        run = await queries.get_run(session, slug=slug, run_id=run_id)
        jobs = await queries.list_jobs(session, run.id)
    return ListJobsResponse(run_id=run_id, count=len(jobs), jobs=[JobView.of(job) for job in jobs])


router = Router(
    "/api/projects/{slug:str}/runs", route_handlers=[list_runs, get_run, list_jobs], tags=["runs"]
)
