"""Taking a job or a run to work on: a row lock to decide, a lease to hold, a fence to write.

A claim succeeds when the row is due and nobody else's lease on it is alive. It raises the
row's fence, and every later write names the fence it was given: a worker that slept through
its lease finds that its fence is old and that its writes change nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, null, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.pipeline.plan import RunPlan
from kroma.runs.models import OPEN_JOB_STATUSES, OPEN_RUN_STATUSES, JobStatus, Run, RunJob, RunStatus

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=30)  # docs/decisions/0006: a killed worker costs at most 45 s
RENEW_EVERY: Final = timedelta(seconds=10)
FINISH_ATTEMPTS: Final = 3


class JobClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a job until the lease ends."""

    job_id: UUID
    run_id: UUID
    project_id: UUID
    ordinal: int
    fence: int
    attempt: int
    """This attempt, from 1."""
    max_attempts: int
    plan: RunPlan

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now is the end."""
        return self.attempt >= self.max_attempts


class RunClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to finish a run until the lease ends."""

    run_id: UUID
    project_id: UUID
    fence: int
    attempt: int
    plan: RunPlan

    @property
    def is_last_attempt(self) -> bool:
        """Whether the run ends now whatever goes wrong."""
        return self.attempt >= FINISH_ATTEMPTS


class ClaimLostError(Exception):
    """Another worker holds a newer claim, or the row has moved on; nothing was written."""


def lease_is_free(row: type[RunJob] | type[Run]) -> ColumnElement[bool]:
    """Whether nobody alive holds the row."""
    return or_(row.lease_expires_at.is_(None), row.lease_expires_at < func.clock_timestamp())


def is_due(row: type[RunJob] | type[Run]) -> ColumnElement[bool]:
    """Whether the row may be worked on now."""
    return or_(row.available_at.is_(None), row.available_at <= func.clock_timestamp())


def job_is_claimable() -> ColumnElement[bool]:
    """Queued and due, or running under a lease that has ended; with attempts left."""
    return and_(
        or_(
            and_(RunJob.status == JobStatus.QUEUED, is_due(RunJob)),
            and_(RunJob.status == JobStatus.RUNNING, lease_is_free(RunJob)),
        ),
        RunJob.attempt < RunJob.max_attempts,
    )


def has_open_jobs() -> ColumnElement[bool]:
    """Whether a job of the run in the outer query is still to be done."""
    return exists().where(RunJob.run_id == Run.id, RunJob.status.in_(OPEN_JOB_STATUSES))


def _claim_statement() -> Select[Any]:
    """One statement, one round trip: this is what every job waits for."""
    now = func.clock_timestamp()
    picked = (
        select(RunJob.id)
        .join(Run, Run.id == RunJob.run_id)
        .where(
            RunJob.id == bindparam("job_id"),
            job_is_claimable(),
            or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING),
        )
        .with_for_update(of=RunJob, skip_locked=True)
        .cte("picked")
    )
    claimed = (
        update(RunJob)
        .where(RunJob.id == picked.c.id)
        .values(
            status=JobStatus.RUNNING,
            fence=RunJob.fence + 1,
            attempt=RunJob.attempt + 1,
            lease_owner=bindparam("worker"),
            lease_expires_at=now + LEASE,
            available_at=null(),
            started_at=func.coalesce(RunJob.started_at, now),
        )
        .returning(RunJob.run_id, RunJob.ordinal, RunJob.fence, RunJob.attempt, RunJob.max_attempts)
        .cte("claimed")
    )
    started = (
        update(Run)
        .where(Run.id == claimed.c.run_id, Run.status == RunStatus.QUEUED)
        .values(status=RunStatus.RUNNING, started_at=func.coalesce(Run.started_at, now))
        .returning(Run.id)
        .cte("started")
    )
    return (
        select(claimed, Run.project_id, Run.plan_json).join(Run, Run.id == claimed.c.run_id).add_cte(started)
    )


_CLAIM: Final = Prepared(_claim_statement())


async def claim_job(db: Database, job_id: UUID, *, worker: str) -> JobClaim | None:
    """Claim one job, and start its run if it is the first.

    Returns:
        None when the job has ended, is not due, is held by a live lease, or its run is being cancelled.
    """
    rows = await db.fetch(_CLAIM, {"job_id": job_id, "worker": worker})
    if not rows:
        return None
    (row,) = rows
    return JobClaim(
        job_id=job_id,
        run_id=row["run_id"],
        project_id=row["project_id"],
        ordinal=row["ordinal"],
        fence=row["fence"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        plan=msgspec.convert(row["plan_json"], RunPlan),
    )


async def claim_run(db: Database, run_id: UUID, *, worker: str) -> RunClaim | None:
    """Claim the finishing of a run.

    Returns:
        None when a job is still open, the run has ended, or another worker is finishing it.
    """
    now = func.clock_timestamp()
    async with db.transaction() as session:
        claimed = await session.execute(
            update(Run)
            .where(
                Run.id == run_id,
                Run.status.in_(OPEN_RUN_STATUSES),
                lease_is_free(Run),
                is_due(Run),
                ~has_open_jobs(),
            )
            .values(
                status=case((Run.status == RunStatus.QUEUED, RunStatus.RUNNING), else_=Run.status),
                fence=Run.fence + 1,
                attempt=Run.attempt + 1,
                lease_owner=worker,
                lease_expires_at=now + LEASE,
                started_at=func.coalesce(Run.started_at, now),
            )
            .returning(Run.project_id, Run.fence, Run.attempt, Run.plan_json)
            .execution_options(synchronize_session=False)
        )
        row = claimed.one_or_none()
    if row is None:
        return None
    return RunClaim(
        run_id=run_id,
        project_id=row.project_id,
        fence=row.fence,
        attempt=row.attempt,
        plan=msgspec.convert(row.plan_json, RunPlan),
    )


async def hold_job(session: AsyncSession, claim: JobClaim) -> None:
    """Lock the claimed job for a write in this transaction.

    Raises:
        ClaimLostError: The fence is old, or the job is no longer running.
    """
    held = await session.scalar(
        select(RunJob.id)
        .where(RunJob.id == claim.job_id, RunJob.fence == claim.fence, RunJob.status == JobStatus.RUNNING)
        .with_for_update()
    )
    if held is None:
        raise ClaimLostError


@asynccontextmanager
async def kept_alive(
    db: Database, row: type[RunJob] | type[Run], claim: JobClaim | RunClaim
) -> AsyncGenerator[None]:
    """Renew a claim's lease while the block runs; cancel the block when the claim is lost.

    Raises:
        ClaimLostError: The lease could not be renewed because a newer claim exists.
    """
    block = asyncio.current_task()
    lost = False
    row_id = claim.job_id if isinstance(claim, JobClaim) else claim.run_id

    async def renew() -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(RENEW_EVERY.total_seconds())
            try:
                if not await _renew(db, row, row_id, fence=claim.fence):
                    lost = True
                    if block is not None:
                        block.cancel()
                    return
            except (DBAPIError, OSError) as exc:
                # The lease may still hold; if not, the fence protects every write.
                log.warning("lease.not_renewed", error=type(exc).__name__)

    renewing = asyncio.ensure_future(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost and block is not None:
            block.uncancel()
            raise ClaimLostError from None
        raise
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew(db: Database, row: type[RunJob] | type[Run], row_id: UUID, *, fence: int) -> bool:
    async with db.transaction() as session:
        renewed = await session.execute(
            update(row)
            .where(row.id == row_id, row.fence == fence, row.lease_expires_at.is_not(None))
            .values(lease_expires_at=func.clock_timestamp() + LEASE)
            .returning(row.id)
            .execution_options(synchronize_session=False)
        )
        return renewed.one_or_none() is not None
