"""Selects a candidate instead of the winner.

The selection is a quality report of type ``human_review`` and the job's selected candidate. If the run's
plan post-processes winners and the candidate has no such file yet, a follow-up run of one job post-processes
it. When that run ends, the original job shows its file (``hand_over``).
"""

from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from kroma.audit import service as audit
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.errors import FieldRequiredError
from kroma.pipeline.control.derived_run import Spending
from kroma.pipeline.control.trigger import new_run, notify_workers
from kroma.pipeline.execution.image_job import with_fixed_seed
from kroma.pipeline.planning.errors import CandidateIndexError, NotSelectableError
from kroma.pipeline.planning.plan import FULLER_PLAN_VERSION, RunPlan
from kroma.quality.models import QualityReport
from kroma.queue.base import TaskQueue
from kroma.runlog.schema import JobLog
from kroma.runs.errors import JobNotFoundError
from kroma.runs.events import write_event
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunCandidate, RunJob, RunMode, RunStatus
from kroma.runs.queries import get_run
from kroma.spend.service import confirm_run_in

SELECT: Final = "select"
HUMAN_REVIEW: Final = "human_review"
APPROVED: Final = "approved"
_UNDONE: Final = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.PARTIAL)


class Selection(NamedTuple):
    """A job after a selection."""

    job: RunJob
    """With its candidates."""
    candidate: RunCandidate
    review_id: UUID
    """The quality report of the selection."""
    audit_id: UUID
    follow_up: Run | None
    """The run that post-processes the candidate, new or existing; None if that is not needed."""


async def select_candidate(
    db: Database,
    queue: TaskQueue,
    *,
    slug: str,
    run_id: str,
    job_id: str,
    candidate_index: int | msgspec.UnsetType,
    note: str | None,
    spending: Spending,
) -> Selection:
    """Approve a candidate of an ended run, and queue its post-processing if it is missing.

    Raises:
        FieldRequiredError: ``candidate_index`` is missing.
        RunNotFoundError: The project or the run is unknown.
        JobNotFoundError: The run has no such job.
        CandidateIndexError: The job has no such candidate.
        NotSelectableError: The run has not ended, or the candidate has no picture.
        InsufficientScopeError: Post-processing may cost money, and the caller's token may not spend any.
        SpendConfirmationRequiredError: Post-processing may cost money, and the caller did not confirm it.
        BudgetExceededError: Post-processing may cost more than the project's budget allows.
        UnknownPriceError: The project has a budget, and the price is unknown.
    """
    if isinstance(candidate_index, msgspec.UnsetType):
        raise FieldRequiredError("candidate_index")
    async with db.transaction() as session:
        run = await get_run(session, slug=slug, run_id=run_id)
        # Locks the job's row before the run's, as everywhere; the last of several selections wins.
        job = await session.scalar(
            select(RunJob)
            .where(RunJob.run_id == run.id, RunJob.id == row_id(job_id))
            .options(selectinload(RunJob.candidates))
            .with_for_update(of=RunJob)
        )
        if job is None:
            raise JobNotFoundError
        if run.status in OPEN_RUN_STATUSES:
            raise NotSelectableError(f"The run is {run.status}; wait until it has ended, or cancel it")
        candidate = _candidate(job, candidate_index)
        plan = _follow_up_plan(run, job, candidate)
        under_way = None if plan is None else await _follow_up(session, run, candidate)
        follow_up = None
        if plan is not None and under_way is None:
            price = spending.price(plan)
            follow_up = new_run(run.project_id, plan, estimated_usd=price.total_usd, origin=(SELECT, run.id))
        actor = spending.caller.user_id
        review = _review(run, job, candidate, note=note, actor=actor)
        session.add(review)
        job.selected_candidate_index = candidate.candidate_index
        job.final_output = candidate.final_output_path or candidate.output_path
        job.final_asset_id = candidate.final_asset_id or candidate.output_asset_id
        what = {
            "run_id": str(run.id),
            "job_id": str(job.id),
            "job_key": job.job_key,
            "candidate_index": candidate.candidate_index,
            "quality_report_id": str(review.id),
        }
        event = await audit.record(
            session,
            code="candidate.select",
            project_id=run.project_id,
            actor=actor,
            payload=what,
        )
        await write_event(session, run.id, "notice", {"notice": "candidate_selected", **what})
        if follow_up is not None:
            await confirm_run_in(session, follow_up, actor=actor)
    if follow_up is not None:
        await notify_workers(queue, follow_up)
    return Selection(job, candidate, review.id, event.id, follow_up or under_way)


def _candidate(job: RunJob, index: int) -> RunCandidate:
    found = next((one for one in job.candidates if one.candidate_index == index), None)
    if found is None:
        raise CandidateIndexError(job.job_key, [one.candidate_index for one in job.candidates])
    if not found.output_path:
        raise NotSelectableError(f"Candidate {index} of job '{job.job_key}' has no picture")
    return found


def _review(
    run: Run, job: RunJob, candidate: RunCandidate, *, note: str | None, actor: UUID | None
) -> QualityReport:
    summary: dict[str, Any] = {
        "scope": "candidate",
        "decision": APPROVED,
        "job_key": job.job_key,
        "candidate_index": candidate.candidate_index,
        "before": job.selected_candidate_index,
        "note": (note or "").strip(),
        "reviewer": None if actor is None else str(actor),
    }
    return QualityReport(
        project_id=run.project_id,
        run_id=run.id,
        job_id=job.id,
        candidate_id=candidate.id,
        asset_id=candidate.final_asset_id or candidate.output_asset_id,
        report_type=HUMAN_REVIEW,
        grade=APPROVED,
        summary_json=summary,
    )


def _follow_up_plan(run: Run, job: RunJob, candidate: RunCandidate) -> RunPlan | None:
    """The plan that post-processes a candidate; None if that is not needed or not possible."""
    if candidate.final_output_path not in {None, "", candidate.output_path}:
        return None
    try:
        plan = msgspec.convert(run.plan_json, RunPlan)
        entry = msgspec.convert(job.meta_json, JobLog)
    except msgspec.ValidationError:
        return None  # imported: another program planned it
    if plan.mode is not RunMode.RUN or plan.tools is None:
        return None
    made = [] if entry.candidates is msgspec.UNSET else entry.candidates
    chosen = next((one for one in made if one.id == candidate.id), None)
    if chosen is None or chosen.file is msgspec.UNSET:
        return None
    planned = msgspec.structs.replace(with_fixed_seed(plan, job.ordinal), chosen=chosen)
    snapshot = {key: value for key, value in run.settings_snapshot_json.items() if key != "timestamp"}
    return msgspec.structs.replace(
        plan,
        version=FULLER_PLAN_VERSION,
        jobs=(planned,),
        candidates=1,
        takes_former=False,
        settings_snapshot=snapshot,
    )


_CHOSEN_ID: Final = Run.plan_json["jobs"][0]["chosen"]["id"].as_string()


async def _follow_up(session: AsyncSession, run: Run, candidate: RunCandidate) -> Run | None:
    """An existing run that post-processes the candidate."""
    return await session.scalar(
        select(Run)
        .where(
            Run.origin_run_id == run.id,
            Run.origin_kind == SELECT,
            Run.status.not_in(_UNDONE),
            str(candidate.id) == _CHOSEN_ID,
        )
        .order_by(Run.created_at.desc())
        .limit(1)
    )
