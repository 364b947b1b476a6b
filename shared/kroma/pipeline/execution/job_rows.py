"""The ends of a claimed job's row: given back to the queue, or ended with its entry in the run log."""

from datetime import timedelta
from typing import Any, Final, cast

import msgspec
import structlog
from sqlalchemy import BindParameter, ColumnElement, Interval, Table, Text, Uuid, bindparam, func, or_, update

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.errors import KromaError
from kroma.leases.claim import RELEASED, ClaimLostError, held_by
from kroma.metrics import JOBS_ENDED
from kroma.pipeline.execution.claim import JobClaim
from kroma.pipeline.execution.image_job import ImageJob
from kroma.pipeline.execution.job_log import ended_log
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.runs.models import JobStatus, RunJob

log = structlog.get_logger(__name__)


def _mine(*statuses: JobStatus) -> tuple[ColumnElement[bool], ...]:
    """The job held by the claim with ``job_id``, ``claimed_fence`` and ``worker``."""
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


async def requeue_job(
    db: Database, claim: JobClaim, *, delay: timedelta, attempts_used: int, error: KromaError | None = None
) -> None:
    """Give the job back. A worker that stops uses up no attempt; a failure does."""
    values = {"delay": delay, "attempt": claim.attempt - 1 + attempts_used}
    await db.fetch(_REQUEUE, {**_whose(claim), **_reason(error), **values})


async def end_job(
    db: Database,
    claim: JobClaim,
    recorder: TableRecorder,
    job: ImageJob,
    status: JobStatus,
    *,
    error: KromaError | None = None,
) -> None:
    """Write how the job ended, and its entry in the run log.

    Raises:
        ClaimLostError: A newer claim exists; nothing was written.
    """
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
