"""Taking a job or a run to work on: a row lock to decide, a lease to hold, a fence to write.

``kroma.leases.claim`` has what all leases share, and the fence rule.

What a newer Kroma planned or recorded is left to a newer worker; what nobody can read ends here, with
the reason, and not in a worker that fails over it again and again.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Interval,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.leases.claim import LEASE, RELEASED, LeaseTable, claimed, is_due, lease_is_free, unchanged
from kroma.ledger.provider_limits import provider_is_paused
from kroma.metrics import LEASES_EXPIRED
from kroma.pipeline.execution.image_job import STEP_VERSION
from kroma.pipeline.planning.plan import FULLER_PLAN_VERSION, RunPlan
from kroma.projects.models import Project
from kroma.runs.models import (
    OPEN_JOB_STATUSES,
    OPEN_RUN_STATUSES,
    JobStatus,
    Run,
    RunJob,
    RunStatus,
    RunStep,
)

log = structlog.get_logger(__name__)

FINISH_ATTEMPTS: Final = 3
SUSPECT_AFTER: Final = 2
"""A job that lost so many workers is carried with nothing beside it, which it might take along."""
PLAN_UNREADABLE: Final = "plan_unreadable"


class JobClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a job until the lease ends."""

    lease_table: ClassVar = LeaseTable(
        name="run_jobs",
        joins="""
            LEFT JOIN runs ON runs.id = leased.run_id LEFT JOIN projects ON projects.id = runs.project_id
        """,
        stop="""
            CASE WHEN runs.status NOT IN ('queued', 'running') THEN 'canceled'
                 WHEN projects.paused_at IS NOT NULL THEN 'paused' END
        """,
        is_job=True,
    )
    job_id: UUID
    run_id: UUID
    project_id: UUID
    ordinal: int
    fence: int
    attempt: int
    """This attempt, from 1."""
    max_attempts: int
    worker: str
    """Whose lease it is."""
    started_at: datetime
    """Of the job's first claim."""
    plan: RunPlan

    @property
    def row_id(self) -> UUID:
        return self.job_id

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now is the end."""
        return self.attempt >= self.max_attempts


class RunClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to finish a run until the lease ends."""

    lease_table: ClassVar = LeaseTable(name="runs")
    run_id: UUID
    project_id: UUID
    fence: int
    attempt: int
    worker: str
    plan: RunPlan

    @property
    def row_id(self) -> UUID:
        return self.run_id

    @property
    def is_last_attempt(self) -> bool:
        """Whether the run ends now whatever goes wrong."""
        return self.attempt >= FINISH_ATTEMPTS


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
    # Not IN: statements that are compiled once have no lists of a length of their own.
    is_open = or_(*(RunJob.status == status for status in OPEN_JOB_STATUSES))
    return exists().where(RunJob.run_id == Run.id, is_open)


def run_is_open() -> ColumnElement[bool]:
    """Whether the run has not ended."""
    return or_(*(Run.status == status for status in OPEN_RUN_STATUSES))


def project_is_paused() -> ColumnElement[bool]:
    """Whether nothing of the project of the run in the outer query may be begun now."""
    return exists().where(Project.id == Run.project_id, Project.paused_at.is_not(None))


def plan_is_newer() -> ColumnElement[bool]:
    """Whether a newer Kroma planned the run; comparing as JSON fails for no value."""
    version = Run.plan_json["version"]
    is_newer = and_(
        func.jsonb_typeof(version) == "number", version > literal_column(f"'{FULLER_PLAN_VERSION}'::jsonb")
    )
    return func.coalesce(is_newer, literal_column("false"))


def has_newer_steps() -> ColumnElement[bool]:
    """Whether a newer Kroma recorded steps of the job in the outer query."""
    # Not EXISTS: beside an OR the planner hashes that, and reads every step there is for one job.
    newest = select(func.max(RunStep.version)).where(RunStep.job_id == RunJob.id).scalar_subquery()
    return func.coalesce(newest, 0) > STEP_VERSION


def is_suspect() -> ColumnElement[bool]:
    """Whether the job's workers were lost so often that it may be its doing."""
    return and_(RunJob.status == JobStatus.RUNNING, RunJob.attempt >= SUSPECT_AFTER)


def _claim_statement() -> Select[Any]:
    """One statement, one round trip: this is what every job waits for."""
    now = func.clock_timestamp()
    picked = (
        select(RunJob.id, (RunJob.status == JobStatus.RUNNING).label("was_lost"))
        .join(Run, Run.id == RunJob.run_id)
        .where(
            RunJob.id == bindparam("job_id"),
            job_is_claimable(),
            or_(bindparam("is_alone", type_=Boolean()), ~is_suspect()),
            or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING),
            ~project_is_paused(),
            ~provider_is_paused(),
            ~plan_is_newer(),
            or_(RunJob.fence == 0, ~has_newer_steps()),
        )
        .with_for_update(of=RunJob, skip_locked=True, key_share=True)
        .cte("picked")
    )
    taken = (
        update(RunJob)
        .where(RunJob.id == picked.c.id)
        .values(
            status=JobStatus.RUNNING,
            **claimed(RunJob, worker=bindparam("worker"), lease=bindparam("lease", type_=Interval())),
            started_at=func.coalesce(RunJob.started_at, now),
        )
        .returning(
            RunJob.run_id,
            RunJob.ordinal,
            RunJob.fence,
            RunJob.attempt,
            RunJob.max_attempts,
            RunJob.started_at,
            picked.c.was_lost,
        )
        .cte("claimed")
    )
    started = (
        update(Run)
        .where(Run.id == taken.c.run_id, Run.status == RunStatus.QUEUED)
        .values(status=RunStatus.RUNNING, started_at=func.coalesce(Run.started_at, now))
        .returning(Run.id)
        .cte("started")
    )
    return select(taken, Run.project_id, Run.plan_json).join(Run, Run.id == taken.c.run_id).add_cte(started)


_CLAIM: Final = Prepared(_claim_statement())
_WAITS_FOR_QUIET: Final = Prepared(
    select(RunJob.id).where(RunJob.id == bindparam("job_id"), job_is_claimable(), is_suspect())
)
_FAIL_UNREADABLE: Final = Prepared(
    update(RunJob)
    .where(
        *unchanged(
            RunJob,
            row_id=bindparam("job_id", type_=Uuid()),
            fence=bindparam("claimed_fence", type_=RunJob.fence.type),
        ),
        RunJob.status == JobStatus.RUNNING,
    )
    .values(
        status=JobStatus.FAILED,
        finished_at=func.clock_timestamp(),
        **RELEASED,
        error=bindparam("problem", type_=Text()),
        error_kind="infra",
        error_code=PLAN_UNREADABLE,
    )
)


async def claim_job(
    db: Database, job_id: UUID, *, worker: str, lease: timedelta = LEASE, is_alone: bool = True
) -> JobClaim | None:
    """Claim one job, and start its run if it is the first.

    Args:
        lease: How long the claim holds unless it is renewed.
        is_alone: Whether nothing else is carried beside it; without that, a suspect is not taken.

    Returns:
        None when the job has ended, is not due, is held by a live lease, waits to be carried alone or for
        a newer worker, when its run is being canceled, or when its plan cannot be read: then it has
        failed now.
    """
    values = {"job_id": job_id, "worker": worker, "lease": lease, "is_alone": is_alone}
    rows = await db.fetch(_CLAIM, values)
    if not rows:
        return None
    (row,) = rows
    if row["was_lost"]:
        LEASES_EXPIRED.labels("taken_over").inc()
    try:
        plan = _readable_plan(row["plan_json"], jobs=row["ordinal"] + 1)
    except msgspec.ValidationError as exc:
        problem = f"The plan of its run cannot be read: {exc}"
        log.warning("job.plan_unreadable", job_id=str(job_id), problem=str(exc))
        await db.fetch(
            _FAIL_UNREADABLE, {"job_id": job_id, "claimed_fence": row["fence"], "problem": problem}
        )
        return None
    return JobClaim(
        job_id=job_id,
        run_id=row["run_id"],
        project_id=row["project_id"],
        ordinal=row["ordinal"],
        fence=row["fence"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        worker=worker,
        started_at=row["started_at"],
        plan=plan,
    )


def _readable_plan(stored: object, *, jobs: int) -> RunPlan:
    """A stored plan of so many jobs at least.

    Raises:
        msgspec.ValidationError: It is none of ours.
    """
    plan = msgspec.convert(stored, RunPlan)
    if len(plan.jobs) < jobs:
        problem = f"it has {len(plan.jobs)} jobs, and there is a row for the {jobs}th"
        raise msgspec.ValidationError(problem)
    return plan


async def waits_for_quiet(db: Database, job_id: UUID) -> bool:
    """Whether the job could be claimed by a worker that carries nothing else."""
    return bool(await db.fetch(_WAITS_FOR_QUIET, {"job_id": job_id}))


_CLAIM_RUN: Final = Prepared(
    update(Run)
    .where(
        Run.id == bindparam("run_id", type_=Uuid()),
        run_is_open(),
        lease_is_free(Run),
        is_due(Run),
        ~has_open_jobs(),
        Run.attempt < FINISH_ATTEMPTS,
        ~plan_is_newer(),
    )
    .values(
        status=case((Run.status == RunStatus.QUEUED, RunStatus.RUNNING), else_=Run.status),
        **claimed(Run, worker=bindparam("worker"), lease=bindparam("lease", type_=Interval())),
        started_at=func.coalesce(Run.started_at, func.clock_timestamp()),
        finishing_at=func.coalesce(Run.finishing_at, func.clock_timestamp()),
    )
    .returning(
        Run.project_id,
        Run.fence,
        Run.attempt,
        Run.plan_json,
        select(func.count()).where(RunJob.run_id == Run.id).scalar_subquery().label("jobs"),
    )
)
_END_UNREADABLE: Final = Prepared(
    update(Run)
    .where(
        *unchanged(
            Run,
            row_id=bindparam("run_id", type_=Uuid()),
            fence=bindparam("claimed_fence", type_=Run.fence.type),
        ),
        or_(Run.status == RunStatus.RUNNING, Run.status == RunStatus.CANCELING),
    )
    .values(
        status=case((Run.status == RunStatus.CANCELING, RunStatus.CANCELED), else_=RunStatus.FAILED),
        finished_at=func.clock_timestamp(),
        **RELEASED,
        error=bindparam("problem", type_=Text()),
        stderr=bindparam("problem", type_=Text()),
        error_kind="infra",
        error_code=PLAN_UNREADABLE,
    )
)


async def claim_run(db: Database, run_id: UUID, *, worker: str, lease: timedelta = LEASE) -> RunClaim | None:
    """Claim the finishing of a run.

    Returns:
        None when a job is still open, the run has ended, another worker is finishing it, it is a newer
        worker's, or its plan cannot be read: then it has failed now, without a log.
    """
    rows = await db.fetch(_CLAIM_RUN, {"run_id": run_id, "worker": worker, "lease": lease})
    if not rows:
        return None
    (row,) = rows
    try:
        plan = _readable_plan(row["plan_json"], jobs=row["jobs"])
    except msgspec.ValidationError as exc:
        log.warning("run.plan_unreadable", run_id=str(run_id), problem=str(exc))
        problem = f"The plan of the run cannot be read: {exc}"
        await db.fetch(_END_UNREADABLE, {"run_id": run_id, "claimed_fence": row["fence"], "problem": problem})
        return None
    return RunClaim(
        run_id=run_id,
        project_id=row["project_id"],
        fence=row["fence"],
        attempt=row["attempt"],
        worker=worker,
        plan=plan,
    )
