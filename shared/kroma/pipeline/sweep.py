"""What the bell missed: due jobs nobody holds, runs nobody finished, jobs whose attempts are spent."""

from typing import Final

import msgspec
from sqlalchemy import func, select, text, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.pipeline.claim import has_open_jobs, is_due, job_is_claimable, lease_is_free
from kroma.queue.messages import AnyMessage, ExecuteJob, FinishRun
from kroma.runs.models import OPEN_RUN_STATUSES, JobStatus, Run, RunJob, RunStatus

BATCH: Final = 200
SWEEP_LOCK: Final = 7_305_110_212
"""One worker sweeps at a time; the others skip theirs."""


class Due(msgspec.Struct, frozen=True):
    """What a sweep found."""

    messages: list[AnyMessage]
    """For every job and run that a worker could take now, oldest first, at most ``BATCH`` of each."""


async def sweep(db: Database) -> Due:
    """Fail jobs whose last attempt lost its lease, and list what is due.

    An expired lease needs no freeing: the next claim takes the job as it is.
    """
    async with db.transaction() as session:
        if not await session.scalar(select(func.pg_try_advisory_xact_lock(SWEEP_LOCK))):
            return Due([])
        await session.execute(
            update(RunJob)
            .where(
                RunJob.status == JobStatus.RUNNING,
                lease_is_free(RunJob),
                RunJob.attempt >= RunJob.max_attempts,
            )
            .values(
                status=JobStatus.FAILED,
                fence=RunJob.fence + 1,
                finished_at=utc_now(),
                lease_owner=None,
                lease_expires_at=None,
                error=func.coalesce(
                    RunJob.error, text("'Its worker was lost ' || run_jobs.max_attempts || ' times'")
                ),
                error_kind=func.coalesce(RunJob.error_kind, "infra"),
                error_code=func.coalesce(RunJob.error_code, "worker_lost"),
            )
            .execution_options(synchronize_session=False)
        )
        jobs = await session.scalars(
            select(RunJob.id)
            .join(Run, Run.id == RunJob.run_id)
            .where(job_is_claimable(), Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)))
            .order_by(RunJob.created_at)
            .limit(BATCH)
        )
        runs = await session.scalars(
            select(Run.id)
            .where(Run.status.in_(OPEN_RUN_STATUSES), ~has_open_jobs(), is_due(Run), lease_is_free(Run))
            .order_by(Run.created_at)
            .limit(BATCH)
        )
        return Due(
            [*(FinishRun(run_id=run_id) for run_id in runs), *(ExecuteJob(job_id=job_id) for job_id in jobs)]
        )
