"""A job's entry of the run log, from what its steps left."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from kroma.ledger.outcomes import COST_OPERATION, TOOL_OPERATIONS, cost_event_id
from kroma.pipeline.execution.image_job import Candidate, FinishedStep, ImageJob
from kroma.pipeline.planning.plan import PlannedJob, RunPlan
from kroma.runlog.ids import stable_id
from kroma.runlog.schema import (
    CandidateLog,
    CostLog,
    GuardLog,
    JobLog,
    StepLog,
)
from kroma.runlog.times import iso
from kroma.runs.models import CandidateStatus, JobStatus


def guard_log(plan: RunPlan) -> GuardLog:
    """The guard's settings; it is always on."""
    return GuardLog(
        enabled=True,
        enforce_grayscale=plan.guard.enforce_grayscale,
        max_chroma_delta=plan.guard.max_chroma_delta,
        fail_on_chroma_exceed=plan.guard.fail_on_chroma_exceed,
    )


def candidate_log(candidate: Candidate) -> CandidateLog:
    """One candidate's entry."""
    path = candidate.file.path if candidate.file else UNSET
    final = candidate.final.path if candidate.final else UNSET
    done = candidate.status is CandidateStatus.DONE
    bg_remove, upscale, color = chain_logs(candidate)
    return CandidateLog(
        id=candidate.id,
        candidate_index=candidate.index,
        status=candidate.status,
        output=path,
        final_output=final if done else UNSET,
        rank=candidate.rank,
        output_guard=candidate.report or UNSET,
        quality=candidate.quality or UNSET,
        file=candidate.file or UNSET,
        final_file=candidate.derived[-1].file if candidate.derived else UNSET,
        bg_remove=bg_remove,
        upscale=upscale,
        color=color,
        derived=list(candidate.derived) or UNSET,
        result=candidate.result or UNSET,
        reason=candidate.reason,
        seed=candidate.seed,
        provider=candidate.provider,
        model=candidate.model,
        provider_request_id=candidate.request_id,
        provider_call_id=candidate.call_id or UNSET,
        parameters=candidate.parameters,
        cost_usd=None if candidate.cost_usd is None else float(candidate.cost_usd),
        duration_ms=candidate.duration_ms,
        error=candidate.error or UNSET,
        error_code=candidate.error_code or UNSET,
        reused_from=candidate.reused_from or UNSET,
    )


def chain_logs(
    candidate: Candidate,
) -> tuple[dict[str, Any] | UnsetType, dict[str, Any] | UnsetType, dict[str, Any] | UnsetType]:
    """The objects ``bg_remove``, ``upscale`` and ``color`` of pipeline.md 8.3, where they were done."""
    made = {one.step: one for one in candidate.derived}
    bg_remove: dict[str, Any] | UnsetType = UNSET
    if (cut := made.get("bg_remove")) is not None:
        refined = made.get("bg_refine_openai")
        bg_remove = {
            "input": cut.source,
            "output": (refined or cut).file.path,
            "backend": cut.backend,
            "backends_tried": cut.details.get("backends_tried", [cut.backend]),
            "refine_openai": refined is not None,
            "refine_error": candidate.refine_error,
        }
    upscale: dict[str, Any] | UnsetType = UNSET
    if (larger := made.get("upscale")) is not None:
        upscale = {
            "backend": larger.backend,
            "input": larger.source,
            "output": larger.file.path,
            "scale": larger.details.get("scale"),
            "model": larger.model,
        }
    color: dict[str, Any] | UnsetType = UNSET
    if (graded := made.get("color")) is not None:
        color = {
            "input": graded.source,
            "output": graded.file.path,
            "profile": graded.details.get("profile"),
            "settings": graded.details.get("settings"),
        }
    return bg_remove, upscale, color


def planned_log(plan: RunPlan, planned: PlannedJob, *, job_id: UUID, seed: int, status: JobStatus) -> JobLog:
    """What is known of a job before anything ran; all of a dry run's entry."""
    return JobLog(
        id=planned.job_key,
        job_id=job_id,
        mode=plan.stage,
        time=plan.time_of_day,
        weather=plan.weather,
        input_images=[planned.scene.ref, *(given.ref for given in (*plan.styles, *plan.references))],
        prompt=planned.prompt,
        status=status,
        planned_generation={"candidates": plan.candidates},
        planned_postprocess=plan.postprocess,
        planned_output_guard=guard_log(plan),
        seed=seed,
    )


def ended_log(
    plan: RunPlan,
    job: ImageJob,
    *,
    status: JobStatus,
    steps: Sequence[FinishedStep],
    attempts: int,
    started_at: datetime | None,
    finished_at: datetime,
    error: tuple[str, str, str] | None = None,
) -> JobLog:
    """The whole entry of a job that ran.

    Args:
        job: As its last finished step left it.
        status: How it ended.
        steps: Its recorded steps, oldest first.
        attempts: Claims it took.
        started_at: Of its first claim.
        finished_at: Now.
        error: Message, kind and code when it failed.
    """
    log = planned_log(plan, job.planned, job_id=job.job_id, seed=job.seed, status=status)
    by_index = sorted(job.candidates, key=lambda candidate: candidate.index)
    log.candidates = [candidate_log(candidate) for candidate in by_index]
    log.inputs = list(job.inputs)
    log.steps = [step_log(step) for step in steps]
    log.attempts = attempts
    log.started_at = iso(started_at)
    log.finished_at = iso(finished_at)
    winner = job.winner if status is JobStatus.DONE else None
    log.selected_candidate = winner.index if winner else None
    log.final_output = winner.final.path if winner and winner.final else None
    if winner and winner.final:
        log.output = winner.final.path
        log.output_guard = winner.report or UNSET
        log.bg_remove, log.upscale, log.color = chain_logs(winner)
    if status is JobStatus.FAILED_OUTPUT_GUARD:
        log.failure_reason = "all_candidates_failed_output_guard"
    if error is not None:
        log.error, log.error_kind, log.error_code = error
        if status is JobStatus.FAILED:
            log.failure_reason = log.error_code
    return log


def step_log(step: FinishedStep) -> StepLog:
    """One finished step with its times."""
    return StepLog(
        name=step.name,
        started_at=iso(step.started_at) or "",
        finished_at=iso(step.finished_at) or "",
        duration_ms=round((step.finished_at - step.started_at).total_seconds() * 1000, 3),
    )


def cost_logs(jobs: Sequence[JobLog]) -> list[CostLog]:
    """One charge per candidate that a provider answered, its picture usable or not, and per paid tool."""
    costs: list[CostLog] = []
    for job in jobs:
        if job.candidates is UNSET:
            continue
        costs.extend(
            CostLog(
                id=_cost_id(candidate),
                provider_code=candidate.provider,
                model_name=candidate.model,
                operation=COST_OPERATION,
                units=1,
                cost_usd=candidate.cost_usd,
                job_id=job.id,
                candidate_index=candidate.candidate_index,
                provider_request_id=candidate.provider_request_id,
            )
            for candidate in job.candidates
            if candidate.model and candidate.reused_from is UNSET
        )
        costs.extend(
            CostLog(
                id=cost_event_id(made.provider_call_id),
                provider_code=made.backend,
                model_name=made.model,
                operation=TOOL_OPERATIONS[made.step],
                units=1,
                cost_usd=made.cost_usd,
                job_id=job.id,
                candidate_index=candidate.candidate_index,
                provider_request_id=made.provider_request_id,
            )
            for candidate in job.candidates
            for made in (candidate.derived or [])
            if made.provider_call_id is not UNSET
        )
    return costs


def _cost_id(candidate: CandidateLog) -> UUID:
    """The ledger's cost event where there is one: whoever writes it first, it is one row."""
    if candidate.provider_call_id is UNSET:
        return stable_id(candidate.id, "cost")
    return cost_event_id(candidate.provider_call_id)
