"""Carry a claimed job through its steps to its end."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Final

import structlog

from kroma.db.base import utc_now
from kroma.db.connection_errors import is_database_lost
from kroma.db.engine import Database
from kroma.errors import KromaError
from kroma.leases.backoff import backoff, next_try
from kroma.leases.claim import LEASE, ClaimLostError
from kroma.leases.renewer import Stop, WorkStoppedError
from kroma.pipeline.execution.claim import JobClaim
from kroma.pipeline.execution.image_job import ImageJob, planned_job, so_far
from kroma.pipeline.execution.instrumentation import job_context, measured_step
from kroma.pipeline.execution.job_rows import end_job, requeue_job
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.pipeline.execution.steps import STEPS, Step
from kroma.pipeline.execution.steps.errors import NoUsableCandidateError
from kroma.pipeline.execution.wiring import WorkerContext, open_step_tools
from kroma.retries import retry
from kroma.runs.errors import RunCanceledError, UnexpectedFailureError
from kroma.runs.models import JobStatus

log = structlog.get_logger(__name__)

_ask_database: Final = retry(
    on=is_database_lost, attempts=None, timeout=None, wait_initial=0.5, wait_max=0.5, wait_jitter=0
)


async def run_claimed_job(
    context: WorkerContext, claim: JobClaim, *, steps: Sequence[Step] = STEPS
) -> timedelta | None:
    """Apply the steps that are not recorded yet, and write how the job ended.

    Returns:
        How long to wait before the next attempt when it failed in passing; None when it has ended.

    Raises:
        ClaimLostError: A newer claim took over; nothing that this one did later was written.
    """
    with job_context(claim):
        return await _run_claimed_job(context, claim, steps)


async def _run_claimed_job(
    context: WorkerContext, claim: JobClaim, steps: Sequence[Step]
) -> timedelta | None:
    recorder = TableRecorder(context.db, claim)
    job = planned_job(
        claim.plan,
        run_id=claim.run_id,
        job_id=claim.job_id,
        project_id=claim.project_id,
        ordinal=claim.ordinal,
    )
    try:
        async with context.renewer.renewing(claim):
            job = await _apply_steps(context, claim, recorder, job, steps)
    except ClaimLostError:
        raise
    except WorkStoppedError as exc:
        if exc.stop is Stop.PAUSED:
            await requeue_job(context.db, claim, delay=timedelta(), attempts_used=0)
            return None
        return await _fail(context.db, claim, recorder, job, RunCanceledError())
    except asyncio.CancelledError:
        await asyncio.shield(requeue_job(context.db, claim, delay=timedelta(), attempts_used=0))
        raise
    except KromaError as exc:
        return await _fail(context.db, claim, recorder, job, exc)
    except Exception as exc:
        if is_database_lost(exc):
            return await _give_back_later(context.db, claim, exc)
        log.exception("job.crashed", job_id=str(claim.job_id), attempt=claim.attempt)
        return await _fail(context.db, claim, recorder, job, UnexpectedFailureError())
    await end_job(context.db, claim, recorder, job, JobStatus.DONE)
    return None


async def _give_back_later(db: Database, claim: JobClaim, error: Exception) -> timedelta:
    """The database went away, which is not the job's fault: no attempt is used if it is back soon."""
    log.warning("job.database_lost", job_id=str(claim.job_id), error=type(error).__name__)
    delay = backoff(claim.attempt)
    async with asyncio.timeout(LEASE.total_seconds()):
        await _ask_database(requeue_job)(db, claim, delay=delay, attempts_used=0)
    return delay


async def _apply_steps(
    context: WorkerContext, claim: JobClaim, recorder: TableRecorder, job: ImageJob, steps: Sequence[Step]
) -> ImageJob:
    tools = await open_step_tools(context, claim, recorder)
    needed = [step for step in steps if step.is_needed(job)]
    try:
        for step, following in zip_longest(needed, needed[1:]):
            after = await recorder.find(step.name, ImageJob)
            if after is None:
                started_at = utc_now()
                with measured_step(step.name):
                    after = await step.apply(job, tools)
                await recorder.record(
                    step.name,
                    after,
                    started_at=started_at,
                    candidates=after.candidates,
                    hold=following is not None and following.at_once,
                )
            job = after
    finally:
        # What is held when a step fails or is interrupted is done all the same.
        await asyncio.shield(recorder.flush())
    return job


async def _fail(
    db: Database, claim: JobClaim, recorder: TableRecorder, job: ImageJob, error: KromaError
) -> timedelta | None:
    again = next_try(error, attempt=claim.attempt, is_last=claim.is_last_attempt)
    if again is not None:
        await requeue_job(db, claim, delay=again.after, attempts_used=again.attempts_used, error=error)
        return again.after
    status = JobStatus.FAILED
    if isinstance(error, NoUsableCandidateError):
        status = JobStatus.FAILED_OUTPUT_GUARD
    elif isinstance(error, RunCanceledError):
        status = JobStatus.CANCELED
    await end_job(db, claim, recorder, so_far(job, await recorder.list_steps()), status, error=error)
    return None
