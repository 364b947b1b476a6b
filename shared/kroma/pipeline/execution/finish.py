"""Finish a run whose jobs have all ended: run log, ingest, the run's own end.

A failed run is finished too: what was made and paid for is kept, logged and ingested.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.base import utc_now
from kroma.db.connection_errors import is_database_lost
from kroma.db.engine import Database
from kroma.errors import ConflictError, InvalidRequestError, KromaError
from kroma.ingest.service import ingest_log
from kroma.leases.backoff import backoff
from kroma.leases.claim import RELEASED, ClaimLostError, held_by
from kroma.metrics import RUNS_ENDED
from kroma.pipeline.execution.claim import RunClaim
from kroma.pipeline.execution.hand_over import hand_over
from kroma.pipeline.execution.image_job import planned_job, so_far
from kroma.pipeline.execution.instrumentation import job_context, measured_step
from kroma.pipeline.execution.job_log import cost_logs, ended_log, guard_log, planned_log
from kroma.pipeline.execution.quality_log import run_quality
from kroma.pipeline.execution.step_recorder import list_steps
from kroma.pipeline.execution.steps import step_names
from kroma.pipeline.execution.wiring import WorkerContext
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.project_location import open_planned
from kroma.retries import retry_context
from kroma.runlog.schema import GenerationLog, JobLog, RunLog, StorageLog
from kroma.runlog.times import iso
from kroma.runlog.writer import encode, summary_lines
from kroma.runs.errors import UnexpectedFailureError
from kroma.runs.models import JobStatus, Run, RunJob, RunMode, RunStatus
from kroma.spend.service import note_warnings
from kroma.storage.base import ProjectStores
from kroma.storage.keys import run_log_key
from kroma.sync.service import SyncNotice, SyncRequest, prepare_sync, request_sync

log = structlog.get_logger(__name__)

INGEST_TRIES: Final = 3
FAILED_PREFIX: Final = "failed"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended and why."""

    status: RunStatus
    error: str | None = None
    kind: str | None = None
    code: str | None = None


async def finish_claimed_run(context: WorkerContext, claim: RunClaim) -> timedelta | None:
    """Write the log, ingest it and set the end.

    Returns:
        How long to wait before the next attempt when the log could not be kept; None when the run has ended.

    Raises:
        ClaimLostError: Another worker finishes the run.
    """
    with job_context(claim):
        return await _finish_claimed_run(context, claim)


async def _finish_claimed_run(context: WorkerContext, claim: RunClaim) -> timedelta | None:
    try:
        async with context.renewer.renewing(claim):
            with measured_step("finish"):
                return await finish_held_run(context.db, context.stores, claim)
    except ClaimLostError:
        raise
    except asyncio.CancelledError:
        await asyncio.shield(_finish_later(context.db, claim, delay=timedelta(), attempts_used=0))
        raise
    except Exception as exc:
        if is_database_lost(exc):
            raise  # nothing can be written; the lease runs out
        log.exception("run.finishing_crashed", run_id=str(claim.run_id), attempt=claim.attempt)
        problem = exc if isinstance(exc, KromaError) else UnexpectedFailureError()
        if not claim.is_last_attempt:
            return await _finish_later(context.db, claim, delay=backoff(claim.attempt), error=problem)
        outcome = Outcome(
            status=RunStatus.FAILED, error=problem.message, kind=problem.kind, code=problem.code
        )
        await _end(context.db, claim, outcome, jobs=len(claim.plan.jobs), notes=["There is no run log"])
        return None


async def finish_held_run(db: Database, stores: ProjectStores, claim: RunClaim) -> timedelta | None:
    """`finish_claimed_run` for what is done well within the claim's lease, or by who renews it."""
    async with db.transaction() as session:
        run = (await session.scalars(select(Run).where(Run.id == claim.run_id))).one()
        jobs = list(
            await session.scalars(
                select(RunJob).where(RunJob.run_id == claim.run_id).order_by(RunJob.ordinal)
            )
        )
        entries = [await job_entry(session, claim.plan, run, job) for job in jobs]
    finished_at = utc_now()
    outcome = outcome_of(run, jobs)
    notes = _notes(claim.plan)
    data = encode(run_log(claim.plan, run, entries, outcome, finished_at=iso(finished_at) or ""))
    try:
        store = await open_planned(db, stores, claim.plan, project_id=run.project_id)
        await store.put(run_log_key(run.id), data)
    except KromaError as exc:
        if exc.retryable and not claim.is_last_attempt:
            return await _finish_later(db, claim, delay=backoff(claim.attempt), error=exc)
        notes.append(f"The run log could not be written: {exc.message}")
        outcome = _spoiled(outcome, exc)
    troubles = await _ingest(db, run, data)
    notes.extend(troubles)
    await hand_over(db, run, claim.plan)
    copy = None
    if claim.plan.storage_sync_s3 and claim.plan.mode is RunMode.RUN and not troubles:
        try:
            copy = await prepare_sync(db, stores, slug=claim.plan.project_slug, request=SyncRequest())
        except KromaError as exc:
            notes.append(f"S3 sync was not begun: {exc.message}")
    await _end(db, claim, outcome, jobs=len(jobs), notes=notes, copy=copy)
    if run.estimated_usd != 0:
        await note_warnings(db, run.project_id)
    return None


def outcome_of(run: Run, jobs: Sequence[RunJob]) -> Outcome:
    """How the run ends (design section 3): canceled, else failed by any job, else ok, else partial."""
    if run.status == RunStatus.CANCELING:
        return Outcome(
            status=RunStatus.CANCELED, error="The run was canceled", kind="policy", code="run_canceled"
        )
    failed = [job for job in jobs if job.status.startswith(FAILED_PREFIX)]
    if failed:
        first = failed[0]
        if all(job.status == JobStatus.FAILED_OUTPUT_GUARD for job in failed):
            text = f"Pipeline command failed: {len(failed)} of {len(jobs)} jobs have no candidate that passed"
        else:
            text = f"{len(failed)} of {len(jobs)} jobs failed; '{first.job_key}': {first.error}"
        return Outcome(status=RunStatus.FAILED, error=text, kind=first.error_kind, code=first.error_code)
    ended_well = {JobStatus.DONE, JobStatus.PLANNED}
    if jobs and all(job.status in ended_well for job in jobs):
        return Outcome(status=RunStatus.OK)
    return Outcome(status=RunStatus.PARTIAL)


async def job_entry(session: AsyncSession, plan: RunPlan, run: Run, job: RunJob) -> JobLog:
    """The entry that its worker wrote when the job ended, or what can be said in its place."""
    if job.meta_json:
        return msgspec.convert(job.meta_json, JobLog)
    status = JobStatus(job.status)
    image_job = planned_job(
        plan, run_id=run.id, job_id=job.id, project_id=run.project_id, ordinal=job.ordinal
    )
    if status is JobStatus.PLANNED:
        return planned_log(plan, image_job.planned, job_id=job.id, seed=image_job.seed, status=status)
    # Its worker was lost before it could write the entry: what it made is in its recorded steps.
    steps = await list_steps(session, job.id)
    return ended_log(
        plan,
        so_far(image_job, steps),
        status=status,
        steps=steps,
        attempts=job.attempt,
        started_at=job.started_at,
        finished_at=job.finished_at or utc_now(),
        error=(job.error or "", job.error_kind or "", job.error_code or "") if job.error else None,
    )


def run_log(plan: RunPlan, run: Run, entries: list[JobLog], outcome: Outcome, *, finished_at: str) -> RunLog:
    """The whole log of a run that has ended."""
    models = [
        c.model for job in entries if job.candidates is not msgspec.UNSET for c in job.candidates if c.model
    ]
    return RunLog(
        timestamp=iso(run.created_at) or "",
        project=plan.project_slug,
        mode=plan.mode,
        stage=plan.stage,
        time=plan.time_of_day,
        weather=plan.weather,
        model=models[0] if models else plan.model,
        size=plan.size or "",
        quality=plan.quality or "",
        generation=GenerationLog(candidates=plan.candidates, max_candidates=plan.max_candidates),
        postprocess=plan.postprocess,
        output_guard=guard_log(plan),
        storage=StorageLog(project_root=plan.project_root),
        jobs=entries,
        run_id=run.id,
        project_id=run.project_id,
        status=outcome.status,
        provider=plan.provider,
        seed=plan.seed,
        steps=step_names(plan) if plan.mode is RunMode.RUN else [],
        started_at=iso(run.started_at),
        finished_at=finished_at,
        error=outcome.error,
        error_kind=outcome.kind,
        error_code=outcome.code,
        cost_events=cost_logs(entries),
        checks=run_quality(plan.checks, entries) if plan.mode is RunMode.RUN else msgspec.UNSET,
        words=plan.words or msgspec.UNSET,
        baseline_run_id=plan.baseline_run_id or msgspec.UNSET,
    )


def _notes(plan: RunPlan) -> list[str]:
    """What was asked for and is not done, for ``stderr``."""
    notes: list[str] = []
    planned = [step for step in plan.postprocess.pipeline_order if step != "generate"]
    if planned and plan.tools is None:
        notes.append(f"Post-processing ({', '.join(planned)}) was planned by a version that did not run it")
    notes += plan.warnings
    return notes


async def _ingest(db: Database, run: Run, data: bytes) -> list[str]:
    """Ingest the log, again if the database stumbles.

    Returns:
        Notes for ``stderr``; empty when it went through.

    Raises:
        Exception: The database stays away.
    """
    tries = 0

    def pause(error: BaseException) -> timedelta | bool:
        if not isinstance(error, Exception):
            return False
        log.error("ingest.failed", exc_info=error, run_id=str(run.id), attempt=tries)
        return False if isinstance(error, (InvalidRequestError, ConflictError)) else backoff(1)

    try:
        async for attempt in retry_context(on=pause, attempts=INGEST_TRIES, timeout=None):
            with attempt:
                tries = attempt.num
                await ingest_log(db, project_id=run.project_id, log_path=run_log_key(run.id), data=data)
    except Exception as exc:
        if is_database_lost(exc):
            raise  # whoever finishes the run when it is back ingests it
        reason = exc.message if isinstance(exc, KromaError) else "internal error"
        how_often = "once" if tries == 1 else f"{tries} times"
        return [f"Ingest was tried {how_often} and failed: {reason}; `kroma ingest` takes the run log again"]
    return []


def _spoiled(outcome: Outcome, error: KromaError) -> Outcome:
    if outcome.status is RunStatus.FAILED:
        return outcome
    return Outcome(status=RunStatus.FAILED, error=error.message, kind=error.kind, code=error.code)


def _held(claim: RunClaim) -> tuple[ColumnElement[bool], ...]:
    return held_by(Run, row_id=claim.run_id, fence=claim.fence, worker=claim.worker)


async def _finish_later(
    db: Database,
    claim: RunClaim,
    *,
    delay: timedelta,
    attempts_used: int = 1,
    error: KromaError | None = None,
) -> timedelta:
    """Give the finishing back. A worker that stops uses up no attempt; a failure does."""
    async with db.transaction() as session:
        await session.execute(
            update(Run)
            .where(*_held(claim))
            .values(
                **RELEASED,
                attempt=claim.attempt - 1 + attempts_used,
                available_at=func.clock_timestamp() + delay,
                error=error.message if error else None,
                error_kind=error.kind if error else None,
                error_code=error.code if error else None,
            )
            .execution_options(synchronize_session=False)
        )
    return delay


async def _end(
    db: Database,
    claim: RunClaim,
    outcome: Outcome,
    *,
    jobs: int,
    notes: list[str],
    copy: SyncNotice | None = None,
) -> None:
    plan = claim.plan
    stdout = "\n".join(
        summary_lines(
            run_log_path=run_log_key(claim.run_id),
            project_slug=plan.project_slug,
            project_root=plan.project_root,
            jobs=jobs,
            mode=plan.mode,
        )
    )
    stderr = "\n".join([*([outcome.error] if outcome.error else []), *notes])
    # A cancellation that came while the log was written is the last word.
    canceled = case((Run.status == RunStatus.CANCELING, RunStatus.CANCELED), else_=outcome.status)
    async with db.transaction() as session:
        ended = await session.scalar(
            update(Run)
            .where(*_held(claim))
            .values(
                status=canceled,
                finished_at=utc_now(),
                error=outcome.error,
                error_kind=outcome.kind,
                error_code=outcome.code,
                stdout=stdout,
                stderr=stderr,
                **RELEASED,
            )
            .returning(Run.id)
            .execution_options(synchronize_session=False)
        )
        if copy is not None and ended is not None:
            await request_sync(session, copy, actor=None, run_id=claim.run_id)
    if ended is not None:
        RUNS_ENDED.labels(outcome.status).inc()
    log.info("run.ended", run_id=str(claim.run_id), status=outcome.status)
