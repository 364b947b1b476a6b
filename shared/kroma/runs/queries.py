"""Reading runs, their jobs and candidates."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer, selectinload

from kroma.assets.models import Asset
from kroma.db.ids import row_id
from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, ascending, descending
from kroma.projects.models import Project
from kroma.projects.slugs import normalised_slug
from kroma.runs.errors import RunNotFoundError
from kroma.runs.models import Run, RunJob, RunMode, RunStatus, Stage

_NEWEST = ListOrder("Run", descending(Run.created_at), descending(Run.id))
_IN_PLAN_ORDER = ListOrder("RunJob", ascending(RunJob.ordinal))


class ProjectCounts(NamedTuple):
    """How much a project holds."""

    runs: int
    jobs: int
    assets: int


async def count_project_contents(session: AsyncSession, project_id: UUID) -> ProjectCounts:
    """Runs, jobs and assets of a project, in one round trip."""
    runs = select(func.count()).select_from(Run).where(Run.project_id == project_id)
    jobs = select(func.count()).select_from(RunJob).join(Run).where(Run.project_id == project_id)
    assets = select(func.count()).select_from(Asset).where(Asset.project_id == project_id)
    statement = select(runs.scalar_subquery(), jobs.scalar_subquery(), assets.scalar_subquery())
    row = (await session.execute(statement)).one()
    return ProjectCounts(row[0], row[1], row[2])


class RunFilter(NamedTuple):
    """Which runs to list; None keeps all."""

    status: RunStatus | None = None
    stage: Stage | None = None
    mode: RunMode | None = None


async def list_runs(
    session: AsyncSession, project_id: UUID, *, wanted: RunFilter, window: Window = EVERYTHING
) -> Page[Run]:
    """The runs of a project without their plans, newest first."""
    statement = select(Run).where(Run.project_id == project_id).options(defer(Run.plan_json, raiseload=True))
    for column, value in (
        (Run.status, wanted.status),
        (Run.stage, wanted.stage),
        (Run.run_mode, wanted.mode),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return await _NEWEST.page(session, statement, window, scope=project_id)


async def get_run(session: AsyncSession, *, slug: str, run_id: str) -> Run:
    """A project's run.

    Raises:
        RunNotFoundError: The project or the run is unknown.
    """
    identifier = row_id(run_id)
    project_slug = normalised_slug(slug)
    if identifier is None or project_slug is None:
        raise RunNotFoundError
    statement = (
        select(Run)
        .join(Project, Project.id == Run.project_id)
        .where(Project.slug == project_slug, Run.id == identifier)
    )
    run = await session.scalar(statement)
    if run is None:
        raise RunNotFoundError
    return run


async def list_jobs(session: AsyncSession, run_id: UUID, *, window: Window = EVERYTHING) -> Page[RunJob]:
    """The jobs of a run in plan order, each with its candidates by index."""
    statement = select(RunJob).where(RunJob.run_id == run_id).options(selectinload(RunJob.candidates))
    return await _IN_PLAN_ORDER.page(session, statement, window, scope=run_id)
