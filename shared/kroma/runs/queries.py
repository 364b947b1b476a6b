"""Reading runs, their jobs and candidates."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, join, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset
from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, Reader, RowMapper, equals
from kroma.projects.contents import get_in_project, newest_first
from kroma.runs.errors import RunNotFoundError
from kroma.runs.models import Run, RunCandidate, RunJob, RunMode, RunStatus, Stage

_RUNS = newest_first(
    Run,
    filters={
        "status": equals(Run.status),
        "stage": equals(Run.stage),
        "mode": Run.run_mode == bindparam("mode"),
    },
    without=[Run.plan_json],
)
_JOBS = Listing(RunJob, ascending(RunJob.ordinal), of=RunJob.run_id)
_candidates = RowMapper(RunCandidate)
_CANDIDATES = Query(
    _candidates,
    _candidates.statement.where(RunCandidate.job_id == any_(bindparam("jobs", type_=ARRAY(Uuid)))).order_by(
        RunCandidate.job_id, RunCandidate.candidate_index, RunCandidate.id
    ),
)
_COUNTS = Prepared(
    select(
        *(
            select(func.count()).select_from(counted).where(condition).scalar_subquery()
            for counted, condition in (
                (Run, Run.project_id == bindparam("project_id")),
                (join(RunJob, Run), Run.project_id == bindparam("project_id")),
                (Asset, Asset.project_id == bindparam("project_id")),
            )
        )
    )
)


class ProjectCounts(NamedTuple):
    """How much a project holds."""

    runs: int
    jobs: int
    assets: int


async def count_project_contents(reader: Reader, project_id: UUID) -> ProjectCounts:
    """Runs, jobs and assets of a project, in one round trip."""
    (row,) = await reader.records(_COUNTS, project_id=project_id)
    return ProjectCounts(*row)


class RunFilter(NamedTuple):
    """Which runs to list; None keeps all."""

    status: RunStatus | None = None
    stage: Stage | None = None
    mode: RunMode | None = None


async def list_runs(
    reader: Reader, project_id: UUID, *, wanted: RunFilter, window: Window = EVERYTHING
) -> Page[Run]:
    """The runs of a project without their plans, newest first."""
    return await _RUNS.page(
        reader, window, of=project_id, status=wanted.status, stage=wanted.stage, mode=wanted.mode
    )


async def get_run(source: AsyncSession | Reader, *, slug: str, run_id: str) -> Run:
    """A project's run.

    Raises:
        RunNotFoundError: The project or the run is unknown.
    """
    return await get_in_project(source, Run, slug=slug, identifier=run_id, missing=RunNotFoundError())


async def list_jobs(reader: Reader, run_id: UUID, *, window: Window = EVERYTHING) -> Page[RunJob]:
    """The jobs of a run in plan order."""
    return await _JOBS.page(reader, window, of=run_id)


async def list_candidates(reader: Reader, jobs: Iterable[RunJob]) -> Mapping[UUID, list[RunCandidate]]:
    """The candidates of the jobs that have some, by the job's id; each job's by index."""
    rows = await _CANDIDATES.all(reader, jobs=tuple(job.id for job in jobs))
    return {job_id: list(candidates) for job_id, candidates in groupby(rows, key=lambda row: row.job_id)}
