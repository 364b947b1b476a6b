"""Carry a claimed job through its steps to its end."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import zip_longest
from typing import Any, Final, cast

import msgspec
import structlog
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Interval,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    or_,
    select,
    update,
)

from kroma.config import FaceModel
from kroma.cpu import CpuPool
from kroma.db.base import utc_now
from kroma.db.connection_errors import is_database_lost
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.errors import KromaError
from kroma.leases.backoff import backoff, next_try
from kroma.leases.claim import LEASE, RELEASED, ClaimLostError, held_by
from kroma.leases.renewer import LeaseKeeper, Stop, WorkStoppedError
from kroma.ledger.admission import OPERATION, Claimed
from kroma.ledger.call_scheduler import CallDesk
from kroma.ledger.calls import PaidCalls
from kroma.metrics import JOBS_ENDED
from kroma.pipeline.execution.claim import JobClaim
from kroma.pipeline.execution.image_job import Candidate, FinishedStep, ImageJob, planned_job
from kroma.pipeline.execution.instrumentation import job_context, watched
from kroma.pipeline.execution.job_log import ended_log
from kroma.pipeline.execution.reuse import FormerCandidates
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps import STEPS
from kroma.pipeline.execution.steps.errors import NoUsableCandidateError
from kroma.pipeline.planning.project_location import open_planned
from kroma.postprocess.toolbox import Toolbox
from kroma.provider_accounts.access import AccessLoader, no_access
from kroma.providers import UnknownProviderError
from kroma.providers.base import Provider, ProviderAccess
from kroma.retries import retry
from kroma.runlog.schema import InputLog
from kroma.runs.errors import RunCancelledError
from kroma.runs.models import JobStatus, Run, RunJob, RunStatus
from kroma.spend.service import confirm_call
from kroma.storage.base import ProjectStores

log = structlog.get_logger(__name__)

_ask_database: Final = retry(
    on=is_database_lost, attempts=None, timeout=None, wait_initial=0.5, wait_max=0.5, wait_jitter=0
)


class Workplace(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker brings to its jobs."""

    db: Database
    keeper: LeaseKeeper
    stores: ProjectStores
    providers: Mapping[str, Provider]
    """Opened, by code."""
    cpu: CpuPool
    desk: CallDesk = msgspec.field(default_factory=CallDesk)
    """Where its paid calls wait for each other."""
    load_access: AccessLoader = no_access
    """A project's way to a provider whose calls cost money."""
    face_model: FaceModel | None = None
    """What faces are compared by; None says so in every report."""
    toolbox: Toolbox | None = None
    """What post-processes; None is the free tools alone."""


class UnexpectedFailureError(KromaError):
    """A bug of ours ended a step; its text is in the worker's log, not in the caller's hands."""

    retryable = True

    def __init__(self) -> None:
        super().__init__("Internal error; the worker's log has the details")


async def run_claimed_job(place: Workplace, claim: JobClaim) -> timedelta | None:
    """Apply the steps that are not recorded yet, and write how the job ended.

    Returns:
        How long to wait before the next attempt when it failed in passing; None when it has ended.

    Raises:
        ClaimLostError: A newer claim took over; nothing that this one did later was written.
    """
    with job_context(claim):
        return await _run_claimed_job(place, claim)


async def _run_claimed_job(place: Workplace, claim: JobClaim) -> timedelta | None:
    recorder = TableRecorder(place.db, claim)
    job = planned_job(
        claim.plan,
        run_id=claim.run_id,
        job_id=claim.job_id,
        project_id=claim.project_id,
        ordinal=claim.ordinal,
    )
    try:
        async with place.keeper.kept_alive(claim):
            job = await _apply_steps(place, claim, recorder, job)
    except ClaimLostError:
        raise
    except WorkStoppedError as exc:
        if exc.stop is Stop.PAUSED:
            await _requeue(place.db, claim, delay=timedelta(), attempts_used=0)
            return None
        return await _failed(place.db, claim, recorder, job, RunCancelledError())
    except asyncio.CancelledError:
        await asyncio.shield(_requeue(place.db, claim, delay=timedelta(), attempts_used=0))
        raise
    except KromaError as exc:
        return await _failed(place.db, claim, recorder, job, exc)
    except Exception as exc:
        if is_database_lost(exc):
            return await _give_back_later(place.db, claim, exc)
        log.exception("job.crashed", job_id=str(claim.job_id), attempt=claim.attempt)
        return await _failed(place.db, claim, recorder, job, UnexpectedFailureError())
    await _end(place.db, claim, recorder, job, JobStatus.DONE)
    return None


async def _give_back_later(db: Database, claim: JobClaim, error: Exception) -> timedelta:
    """The database went away, which is not the job's fault: no attempt is used if it is back soon."""
    log.warning("job.database_lost", job_id=str(claim.job_id), error=type(error).__name__)
    delay = backoff(claim.attempt)
    async with asyncio.timeout(LEASE.total_seconds()):
        await _ask_database(_requeue)(db, claim, delay=delay, attempts_used=0)
    return delay


async def _apply_steps(place: Workplace, claim: JobClaim, recorder: TableRecorder, job: ImageJob) -> ImageJob:
    tools = await _tools(place, claim, recorder)
    steps = [step for step in STEPS if step.is_needed(job)]
    try:
        for step, following in zip_longest(steps, steps[1:]):
            after = await recorder.find(step.name, ImageJob)
            if after is None:
                started_at = utc_now()
                with watched(step.name):
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


async def _tools(place: Workplace, claim: JobClaim, recorder: TableRecorder) -> StepTools:
    provider = place.providers.get(claim.plan.provider)
    if provider is None:
        raise UnknownProviderError(claim.plan.provider)

    async def is_cancelled() -> bool:
        return not await place.db.fetch(_WANTED, {"run_id": claim.run_id})

    return StepTools(
        store=await open_planned(place.db, place.stores, claim.plan, project_id=claim.project_id),
        provider=provider,
        cpu=place.cpu,
        recorder=recorder,
        may_retry=not claim.is_last_attempt,
        is_cancelled=is_cancelled,
        calls=None if provider.capabilities.free else _paid_calls(place, claim, provider),
        toolbox=place.toolbox or Toolbox(place.cpu),
        paid=partial(_paid_calls, place, claim),
        find_access=partial(_find_access, place, claim),
        providers=place.providers,
        former=FormerCandidates(place.db, claim.project_id) if claim.plan.takes_former else None,
        face_model=place.face_model,
    )


async def _find_access(place: Workplace, claim: JobClaim, provider: Provider) -> ProviderAccess:
    return await place.load_access(provider, claim.project_id)


def _paid_calls(
    place: Workplace, claim: JobClaim, provider: Provider, operation: str = OPERATION
) -> PaidCalls:
    claimed = Claimed(
        project_id=claim.project_id,
        run_id=claim.run_id,
        job_id=claim.job_id,
        job_key=claim.plan.jobs[claim.ordinal].job_key,
        fence=claim.fence,
    )
    access = partial(place.load_access, provider, claim.project_id)
    confirm = partial(confirm_call, project_id=claim.project_id, run_id=claim.run_id)
    return PaidCalls(
        place.db, place.desk, provider, claimed, find_access=access, confirm=confirm, operation=operation
    )


async def _failed(
    db: Database, claim: JobClaim, recorder: TableRecorder, job: ImageJob, error: KromaError
) -> timedelta | None:
    again = next_try(error, attempt=claim.attempt, is_last=claim.is_last_attempt)
    if again is not None:
        await _requeue(db, claim, delay=again.after, attempts_used=again.attempts_used, error=error)
        return again.after
    status = JobStatus.FAILED
    if isinstance(error, NoUsableCandidateError):
        status = JobStatus.FAILED_OUTPUT_GUARD
    elif isinstance(error, RunCancelledError):
        status = JobStatus.CANCELED
    await _end(db, claim, recorder, so_far(job, await recorder.list_steps()), status, error=error)
    return None


class _WholeStep(msgspec.Struct):
    """What is wanted of a whole step's output."""

    inputs: tuple[InputLog, ...] = ()
    candidates: tuple[Candidate, ...] = ()


def so_far(job: ImageJob, steps: Sequence[FinishedStep]) -> ImageJob:
    """The job with what it has read and made, by index, each as its last recorded step left it.

    Args:
        job: As it was planned.
        steps: Its recorded steps, oldest first.
    """
    latest: dict[int, Candidate] = {}
    inputs = job.inputs
    for step in steps:
        # One that nobody can read is the reason that its job failed; the others are kept.
        with contextlib.suppress(msgspec.ValidationError):
            if "/" in step.name:
                candidate = msgspec.convert(step.output_json, Candidate)
                latest[candidate.index] = candidate
            else:
                # A whole step may move what its candidates' own steps left, like into the archive.
                whole = msgspec.convert(step.output_json, _WholeStep)
                inputs = whole.inputs or inputs
                latest |= {candidate.index: candidate for candidate in whole.candidates}
    candidates = tuple(latest[index] for index in sorted(latest))
    return msgspec.structs.replace(job, inputs=inputs, candidates=candidates)


def _mine(*statuses: JobStatus) -> tuple[ColumnElement[bool], ...]:
    """The job in the hands of the claim of ``job_id``, ``claimed_fence`` and ``worker``."""
    return (
        *held_by(
            RunJob,
            row_id=bindparam("job_id", type_=Uuid()),
            fence=bindparam("claimed_fence", type_=RunJob.fence.type),
            worker=bindparam("worker", type_=Text()),
        ),
        or_(*(RunJob.status == status for status in statuses)),
    )


def _whose(claim: JobClaim) -> dict[str, object]:
    return {"job_id": claim.job_id, "claimed_fence": claim.fence, "worker": claim.worker}


def _reason(error: KromaError | None) -> dict[str, object]:
    if error is None:
        return {"error": None, "error_kind": None, "error_code": None}
    return {"error": error.message, "error_kind": error.kind, "error_code": error.code}


def _given(*names: str) -> dict[str, BindParameter[Any]]:
    columns = cast("Table", RunJob.__table__).c
    return {name: bindparam(name, type_=columns[name].type) for name in names}


_WANTED: Final = Prepared(
    select(Run.id).where(
        Run.id == bindparam("run_id"), or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING)
    )
)
_REQUEUE: Final = Prepared(
    update(RunJob)
    .where(*_mine(JobStatus.RUNNING))
    .values(
        status=JobStatus.QUEUED,
        available_at=func.clock_timestamp() + bindparam("delay", type_=Interval()),
        **RELEASED,
        **_given("attempt", "error", "error_kind", "error_code"),
    )
)
_END: Final = Prepared(
    update(RunJob)
    .where(*_mine(JobStatus.RUNNING))
    .values(
        **RELEASED,
        **_given(
            "status",
            "selected_candidate_index",
            "final_output",
            "meta_json",
            "finished_at",
            "error",
            "error_kind",
            "error_code",
        ),
    )
    .returning(RunJob.id)
)


async def _requeue(
    db: Database, claim: JobClaim, *, delay: timedelta, attempts_used: int, error: KromaError | None = None
) -> None:
    """Give the job back. A worker that stops uses up no attempt; a failure does."""
    values = {"delay": delay, "attempt": claim.attempt - 1 + attempts_used}
    await db.fetch(_REQUEUE, {**_whose(claim), **_reason(error), **values})


async def _end(
    db: Database,
    claim: JobClaim,
    recorder: TableRecorder,
    job: ImageJob,
    status: JobStatus,
    *,
    error: KromaError | None = None,
) -> None:
    finished_at = utc_now()
    winner = job.winner if status is JobStatus.DONE else None
    entry = ended_log(
        claim.plan,
        job,
        status=status,
        steps=await recorder.list_steps(),
        attempts=claim.attempt,
        started_at=claim.started_at,
        finished_at=finished_at,
        error=(error.message, error.kind, error.code) if error else None,
    )
    values = {
        "status": status,
        "selected_candidate_index": winner.index if winner else None,
        "final_output": winner.final.path if winner and winner.final else None,
        "meta_json": msgspec.to_builtins(entry),
        "finished_at": finished_at,
    }
    if not await db.fetch(_END, {**_whose(claim), **_reason(error), **values}):
        raise ClaimLostError
    JOBS_ENDED.labels(status).inc()
    log.info("job.ended", job_id=str(claim.job_id), run_id=str(claim.run_id), status=status)
