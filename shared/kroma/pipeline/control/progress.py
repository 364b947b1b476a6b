"""A run's progress, and why it waits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, func, literal_column, null, or_, select

from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.db.prepared import Prepared
from kroma.db.reader import Reader
from kroma.ledger.models import ProviderGate
from kroma.pipeline.execution.claim import job_is_claimable, project_is_paused, run_is_open
from kroma.projects.models import Project
from kroma.projects.slugs import normalized_slug
from kroma.runs.errors import RunNotFoundError
from kroma.runs.models import (
    OPEN_JOB_STATUSES,
    OPEN_RUN_STATUSES,
    JobStatus,
    Run,
    RunCandidate,
    RunJob,
    RunStatus,
    RunStep,
)
from kroma.spend.queries import Spend, run_spend

_PHASE: Final = func.split_part(RunStep.name, literal_column("'/'"), literal_column("1"))
_PHASES: Final = Prepared(
    select(_PHASE, func.min(RunStep.started_at), func.max(RunStep.finished_at))
    .join(RunJob, RunJob.id == RunStep.job_id)
    .where(RunJob.run_id == bindparam("run_id"))
    .group_by(literal_column("1"))
    .order_by(literal_column("2"))
)
_GATES: Final = Prepared(
    select(
        ProviderGate.paused_reason,
        ProviderGate.paused_code,
        ProviderGate.paused_at,
        ProviderGate.open_until,
        ProviderGate.retry_after,
    ).where(
        ProviderGate.provider_code == bindparam("provider"),
        or_(ProviderGate.project_id.is_(null()), ProviderGate.project_id == bindparam("project_id")),
    )
)
_PAUSE: Final = Prepared(
    select(Project.paused_at, Project.paused_reason).where(Project.id == bindparam("project_id"))
)
_AHEAD: Final = Prepared(
    select(func.count())
    .select_from(RunJob)
    .join(Run, Run.id == RunJob.run_id)
    .where(
        RunJob.created_at < bindparam("created_at", type_=RunJob.created_at.type),
        job_is_claimable(),
        run_is_open(),
        ~project_is_paused(),
    )
)
_VERSION: Final = Prepared(
    select(Run.revision, Project.paused_at)
    .join(Project, Project.id == Run.project_id)
    .where(Run.id == bindparam("run_id"), Project.slug == bindparam("slug"))
)


class RunVersion(NamedTuple):
    """Changes whenever the run as shown changes, except its position in the queue."""

    revision: int
    paused_at: datetime | None
    """When the project was paused; None if it is not."""


async def read_version(db: Database, *, slug: str, run_id: str) -> RunVersion:
    """The version of a project's run, in one statement that uses only keys.

    Raises:
        RunNotFoundError: The project or the run is unknown.
    """
    identifier, project_slug = row_id(run_id), normalized_slug(slug)
    if identifier is None or project_slug is None:
        raise RunNotFoundError
    rows = await db.fetch(_VERSION, {"run_id": identifier, "slug": project_slug})
    if not rows:
        raise RunNotFoundError
    return RunVersion(*rows[0])


class Phase(NamedTuple):
    """The first start and the last end over all jobs; None if not yet."""

    started_at: datetime | None
    finished_at: datetime | None


class Reason(NamedTuple):
    """Why a run waits, or why it failed."""

    text: str = ""
    code: str = ""


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A run's progress, in addition to its own columns."""

    jobs: Mapping[str, int]
    """By status."""
    candidates: Mapping[str, int]
    """By status."""
    phases: Mapping[str, Phase]
    queue_position: int | None
    """Claimable jobs ahead in the queue; None if the run does not wait in the queue."""
    attempt: int
    """The highest attempt of its jobs; 0 before the first."""
    reason: Reason
    spend: Spend

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    def done(self, *, has_ended: bool) -> int:
        """How many jobs have ended; those of a dry run end with the run."""
        open_jobs = sum(self.jobs.get(status, 0) for status in OPEN_JOB_STATUSES)
        if not has_ended:
            open_jobs += self.jobs.get(JobStatus.PLANNED, 0)
        return self.total - open_jobs


def progress_of_new(run: Run) -> RunProgress:
    """The progress of a run that was just inserted."""
    nothing = Spend(spent_usd=Decimal(0), held_usd=run.estimated_usd or Decimal(0), unknown_price_calls=0)
    return RunProgress(
        jobs=Counter(job.status for job in run.jobs),
        candidates={},
        phases={"queued": Phase(run.created_at, run.started_at)},
        queue_position=None,
        attempt=0,
        reason=Reason(),
        spend=nothing,
    )


async def read_progress(
    reader: Reader, run: Run, jobs: Sequence[RunJob], candidates: Mapping[UUID, Sequence[RunCandidate]]
) -> RunProgress:
    """The progress of a run with all of its jobs, and their candidates by job id."""
    is_waiting = any(job.status == JobStatus.QUEUED for job in jobs)
    position = None
    if run.status == RunStatus.QUEUED and is_waiting:
        position = int(await reader.value(_AHEAD, created_at=run.created_at))
    return RunProgress(
        jobs=Counter(job.status for job in jobs),
        candidates=Counter(candidate.status for made in candidates.values() for candidate in made),
        phases=await _phases(reader, run),
        queue_position=position,
        attempt=max((job.attempt for job in jobs), default=0),
        reason=await _reason(reader, run, jobs),
        spend=await run_spend(reader, run.id),
    )


async def _phases(reader: Reader, run: Run) -> dict[str, Phase]:
    steps = await reader.records(_PHASES, run_id=run.id)
    phases = {"queued": Phase(run.created_at, run.started_at)}
    phases |= {name: Phase(started, finished) for name, started, finished in steps}
    if run.finishing_at is not None:
        phases["finishing"] = Phase(run.finishing_at, run.finished_at)
    return phases


async def _reason(reader: Reader, run: Run, jobs: Sequence[RunJob]) -> Reason:
    if run.status not in OPEN_RUN_STATUSES:
        return Reason(run.error or "", run.error_code or "")
    if run.status == RunStatus.CANCELING:
        return Reason("The run is being canceled and waits for the calls in flight", "canceling")
    (pause,) = await reader.records(_PAUSE, project_id=run.project_id)
    if pause["paused_at"] is not None:
        return Reason(_because("The project is paused", pause["paused_reason"]), "project_paused")
    gates = await reader.records(_GATES, provider=run.provider_code, project_id=run.project_id)
    return _gate_reason(run.provider_code or "", gates) or _backoff_reason(jobs)


def _gate_reason(provider: str, gates: Sequence[Any]) -> Reason | None:
    now = utc_now()
    for gate in gates:
        if gate["paused_at"] is not None:
            text = _because(f"The provider '{provider}' is paused", gate["paused_reason"])
            return Reason(text, gate["paused_code"] or "provider_paused")
    for column, text, code in (
        ("open_until", f"The provider '{provider}' keeps failing; the next call is", "circuit_open"),
        ("retry_after", f"The provider '{provider}' limits the rate; the next call is", "rate_limited"),
    ):
        until = max((gate[column] for gate in gates if gate[column] is not None), default=now)
        if until > now:
            return Reason(f"{text} at {_stamp(until)}", code)
    return None


def _backoff_reason(jobs: Sequence[RunJob]) -> Reason:
    """Why all open jobs wait for a retry; empty if one is running or due."""
    now = utc_now()
    if any(job.status == JobStatus.RUNNING for job in jobs):
        return Reason()
    waiting = [job for job in jobs if job.status == JobStatus.QUEUED]
    later = [job.available_at for job in waiting if job.available_at is not None and job.available_at > now]
    if not waiting or len(later) < len(waiting):
        return Reason()
    last = next((job for job in waiting if job.error), None)
    text = _because(f"The next attempt is at {_stamp(min(later))}", None if last is None else last.error)
    return Reason(text, "backing_off" if last is None else last.error_code or "backing_off")


def _because(text: str, reason: str | None) -> str:
    return f"{text}: {reason}" if reason else text


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
