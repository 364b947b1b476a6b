"""Retries the failed jobs of a run; their finished candidates are reused."""

import secrets
from typing import Final

import msgspec
from sqlalchemy import or_, select

from kroma.db.engine import Database
from kroma.ledger.models import IN_FLIGHT_CALL_STATUSES, CallStatus, ProviderCall
from kroma.pipeline.control.derived_run import (
    RETRY,
    Origin,
    Spending,
    get_origin,
    repeat,
    with_current_pictures,
)
from kroma.pipeline.control.trigger import find_made_run
from kroma.pipeline.execution.image_job import with_fixed_seed
from kroma.pipeline.planning.errors import CallsUnresolvedError, RunNotAgainError
from kroma.pipeline.planning.plan import PlannedJob
from kroma.pipeline.planning.run_spec import SEEDS
from kroma.queue.base import TaskQueue
from kroma.runs.models import JobStatus, Run, RunJob
from kroma.storage.base import ProjectStores

FAILED: Final = (JobStatus.FAILED, JobStatus.FAILED_OUTPUT_GUARD)


async def retry_run(
    db: Database,
    queue: TaskQueue,
    stores: ProjectStores,
    *,
    slug: str,
    run_id: str,
    spending: Spending,
) -> Run:
    """Queue a new run of a run's failed jobs.

    Finished candidates are reused and not paid again. Jobs that the quality check rejected get a new seed,
    since the old one would give the same picture.

    Raises:
        RunNotFoundError: The project or the run is unknown.
        RunNotAgainError: The run has not ended, none of its jobs failed, or it is already being retried.
        CallsUnresolvedError: Calls of the failed jobs may have been charged.
        PlanningPreflightError: A picture is missing.
        InsufficientScopeError: Calls may cost money, and the caller's token may not spend any.
        SpendConfirmationRequiredError: Calls may cost money, and the caller did not confirm it.
        BudgetExceededError: The run may cost more than the project's budget allows.
        UnknownPriceError: The project has a budget, and the price is unknown.
    """
    if (made := await find_made_run(db, spending.idempotency_id)) is not None:
        return made
    origin = await get_origin(db, stores, slug=slug, run_id=run_id)
    failed = [job for job in origin.run.jobs if job.status in FAILED]
    if not failed:
        raise RunNotAgainError("No job of the run failed, so there is nothing to retry")
    await _check_resolved(db, failed)
    jobs = tuple(_again(origin, job) for job in failed)
    plan = msgspec.structs.replace(origin.plan, jobs=jobs, takes_former=True)
    store = origin.location.open(stores)
    plan = await with_current_pictures(db, store, origin, plan)
    return await repeat(db, queue, stores, origin, plan, kind=RETRY, spending=spending)


def _again(origin: Origin, job: RunJob) -> PlannedJob:
    if job.status == JobStatus.FAILED_OUTPUT_GUARD:
        return msgspec.structs.replace(origin.plan.jobs[job.ordinal], seed=secrets.randbelow(SEEDS))
    return with_fixed_seed(origin.plan, job.ordinal)


async def _check_resolved(db: Database, jobs: list[RunJob]) -> None:
    statement = (
        select(ProviderCall.job_key, ProviderCall.candidate_index)
        .where(
            ProviderCall.job_id.in_([job.id for job in jobs]),
            or_(ProviderCall.status == CallStatus.UNKNOWN, ProviderCall.status.in_(IN_FLIGHT_CALL_STATUSES)),
        )
        .order_by(ProviderCall.job_key, ProviderCall.candidate_index)
    )
    async with db.transaction() as session:
        calls = [(row.job_key, row.candidate_index) for row in await session.execute(statement)]
    if calls:
        raise CallsUnresolvedError(calls)
