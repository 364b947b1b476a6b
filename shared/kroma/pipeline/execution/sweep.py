"""Finds due jobs without a lease, runs that were not finished, and work whose attempts are spent."""

from typing import Final

from sqlalchemy import and_, case, func, literal_column, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.leases.claim import RELEASED, is_due, lease_is_free
from kroma.leases.sweep import BATCH, WORKER_LOST
from kroma.ledger.provider_limits import provider_is_paused
from kroma.metrics import LEASES_EXPIRED
from kroma.pipeline.execution.canceled import CANCELED_REASON
from kroma.pipeline.execution.claim import (
    FINISH_ATTEMPTS,
    has_newer_steps,
    has_open_jobs,
    job_is_claimable,
    plan_is_newer,
    run_is_open,
)
from kroma.projects.models import Project
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus

_NEWER_RUNS: Final = select(Run.id).where(run_is_open(), plan_is_newer())
_PAUSED_PROJECTS: Final = select(Project.id).where(Project.paused_at.is_not(None))
_DUE_JOBS: Final = Prepared(
    select(RunJob.id)
    .join(Run, Run.id == RunJob.run_id)
    .where(
        job_is_claimable(),
        or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING),
        # Asked once for each run and not for each job: it reads the whole plan.
        RunJob.run_id.not_in(_NEWER_RUNS),
        Run.project_id.not_in(_PAUSED_PROJECTS),
        ~provider_is_paused(),
        or_(RunJob.fence == 0, ~has_newer_steps()),
    )
    .order_by(RunJob.created_at)
    .limit(literal_column(str(BATCH)))
)
_DUE_RUNS: Final = Prepared(
    select(Run.id)
    .where(
        run_is_open(),
        ~has_open_jobs(),
        is_due(Run),
        lease_is_free(Run),
        Run.attempt < FINISH_ATTEMPTS,
        ~plan_is_newer(),
    )
    .order_by(Run.created_at)
    .limit(literal_column(str(BATCH)))
)


async def list_due(db: Database) -> list[AnyMessage]:
    """Every job and run that a worker could take now, the oldest first, at most ``BATCH`` of each."""
    async with db.reading() as reader:
        runs = await reader.records(_DUE_RUNS)
        jobs = await reader.records(_DUE_JOBS)
    return [
        *(FinishRun(run_id=row["id"]) for row in runs),
        *(ExecuteJob(job_id=row["id"]) for row in jobs),
    ]


async def fail_spent(session: AsyncSession) -> None:
    """End the jobs, and the runs in finishing, that nobody carries and nobody may carry on."""
    await _cancel_jobs(session)
    await _fail_jobs(session)
    await _fail_runs(session)


async def _cancel_jobs(session: AsyncSession) -> None:
    """End the jobs of canceled runs that nobody carries: given back just then, or their worker was lost."""
    left = (
        select(RunJob.id)
        .join(Run, Run.id == RunJob.run_id)
        .where(
            Run.status == RunStatus.CANCELING,
            or_(
                RunJob.status == JobStatus.QUEUED,
                and_(RunJob.status == JobStatus.RUNNING, lease_is_free(RunJob)),
            ),
        )
        .limit(BATCH)
        .with_for_update(of=RunJob, skip_locked=True, key_share=True)
    )
    await session.execute(
        update(RunJob)
        .where(RunJob.id.in_(left.scalar_subquery()))
        .values(
            status=JobStatus.CANCELED,
            fence=RunJob.fence + 1,
            finished_at=utc_now(),
            **RELEASED,
            **CANCELED_REASON,
        )
        .execution_options(synchronize_session=False)
    )


async def _fail_jobs(session: AsyncSession) -> None:
    spent = (
        select(RunJob.id)
        .where(
            RunJob.status == JobStatus.RUNNING,
            lease_is_free(RunJob),
            RunJob.attempt >= RunJob.max_attempts,
        )
        .limit(BATCH)
        .with_for_update(skip_locked=True, key_share=True)
    )
    failed = await session.scalars(
        update(RunJob)
        .where(RunJob.id.in_(spent.scalar_subquery()))
        .values(
            status=JobStatus.FAILED,
            fence=RunJob.fence + 1,
            finished_at=utc_now(),
            **RELEASED,
            error=func.coalesce(
                RunJob.error, text("'Its worker was lost ' || run_jobs.max_attempts || ' times'")
            ),
            error_kind=func.coalesce(RunJob.error_kind, "infra"),
            error_code=func.coalesce(RunJob.error_code, WORKER_LOST),
        )
        .returning(RunJob.id)
        .execution_options(synchronize_session=False)
    )
    LEASES_EXPIRED.labels("ended").inc(len(failed.all()))


async def _fail_runs(session: AsyncSession) -> None:
    spent = (
        select(Run.id)
        .where(run_is_open(), ~has_open_jobs(), lease_is_free(Run), Run.attempt >= FINISH_ATTEMPTS)
        .limit(BATCH)
        .with_for_update(skip_locked=True, key_share=True)
    )
    problem = f"Its worker was lost {FINISH_ATTEMPTS} times while the run log was written; there is none"
    await session.execute(
        update(Run)
        .where(Run.id.in_(spent.scalar_subquery()))
        .values(
            status=case((Run.status == RunStatus.CANCELING, RunStatus.CANCELED), else_=RunStatus.FAILED),
            fence=Run.fence + 1,
            finished_at=utc_now(),
            **RELEASED,
            error=problem,
            stderr=problem,
            error_kind="infra",
            error_code=WORKER_LOST,
        )
        .execution_options(synchronize_session=False)
    )
