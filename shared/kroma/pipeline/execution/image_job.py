"""What the steps pass on: one job and its candidates, frozen; its JSON is a step's recorded output."""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.settings import QualitySettings
from kroma.pipeline.planning.plan import PlannedJob, PlannedPicture, RunPlan
from kroma.pipeline.planning.run_spec import SEEDS
from kroma.postprocess.specs import PlannedTools
from kroma.runlog.schema import DerivedLog, FileLog, GuardReportLog, InputLog, RankLog, ResultLog
from kroma.runs.models import CandidateStatus

STEP_VERSION = 1
"""Of the recorded shape; a worker that meets another one runs the step again."""


class FinishedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded step, as its row has it; a row of the ORM costs more than the rest of recording it."""

    name: str
    version: int
    fence: int
    output_json: Any
    started_at: datetime
    finished_at: datetime


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One image made for a job, or the attempt at one."""

    id: UUID
    index: int
    """From 1."""
    status: CandidateStatus
    seed: int
    provider: str
    model: str = ""
    file: FileLog | None = None
    """The generated picture where it lies now; None when the call failed."""
    report: GuardReportLog | None = None
    quality: QualityReport | None = None
    """What the checks said; None before they are made."""
    derived: tuple[DerivedLog, ...] = ()
    """What post-processing made of the picture so far, in order; the last one is the result."""
    refine_error: str | None = None
    """Why the cut-out was not refined, where it need not be."""
    result: ResultLog | None = None
    """What the final check said; None before it."""
    thumbnail: bytes = b""
    """What copies are told by; empty once the candidates have been compared."""
    rank: RankLog = msgspec.field(default_factory=RankLog)
    reason: str = ""
    """Why it stands where it stands, one sentence."""
    parameters: dict[str, Any] = {}
    call_id: UUID | None = None
    """In the ledger of provider calls; None where a call costs nothing."""
    request_id: str | None = None
    cost_usd: str | None = None
    """Decimal text; None when the price is unknown."""
    duration_ms: float = 0.0
    error: str | None = None
    error_code: str | None = None
    reused_from: UUID | None = None
    """The candidate of an earlier run whose picture this is: no call was made for it."""

    @property
    def final(self) -> FileLog | None:
        """The last picture of the chain; the generated one where there is no chain."""
        return self.derived[-1].file if self.derived else self.file

    @property
    def failures(self) -> int:
        """Hard failures of all checks, the color guard's one among them."""
        return self.rank.hard_failures + (self.quality.failures if self.quality else 0)

    @property
    def warnings(self) -> int:
        """Soft warnings of all checks, the color guard's one among them."""
        return self.rank.soft_warnings + (self.quality.warnings if self.quality else 0)

    @property
    def quality_score(self) -> float:
        """0 to 1; 0 when nothing was measured."""
        return (self.quality.score if self.quality else None) or 0.0


class ImageJob(msgspec.Struct, frozen=True, kw_only=True):
    """One image to make, and how far it is."""

    run_id: UUID
    job_id: UUID
    project_id: UUID
    ordinal: int
    planned: PlannedJob
    styles: tuple[PlannedPicture, ...]
    references: tuple[PlannedPicture, ...] = ()
    stage: str
    time_of_day: str
    weather: str
    guard: GuardSettings
    checks: QualitySettings = msgspec.field(default_factory=QualitySettings)
    tools: PlannedTools | None = None
    """What is done to what passed; None is nothing."""
    provider: str
    model: str = ""
    """Empty takes the provider's default."""
    size: str | None
    quality: str | None
    seed: int
    """Of this job: the run's seed plus its position, so that two scenes never share one."""
    candidate_count: int
    inputs: tuple[InputLog, ...] = ()
    """What was read, with hashes; filled by the first step."""
    candidates: tuple[Candidate, ...] = ()
    """In order of index until ranked, then best first."""

    @property
    def winner(self) -> Candidate | None:
        """The first candidate that passed, once ranked."""
        return next((c for c in self.candidates if c.status is CandidateStatus.DONE), None)


def with_fixed_seed(plan: RunPlan, ordinal: int) -> PlannedJob:
    """A job of a plan with the seed that it has there, so that it keeps it in another plan."""
    planned = plan.jobs[ordinal]
    if planned.seed is not None:
        return planned
    return msgspec.structs.replace(planned, seed=(plan.seed + ordinal) % SEEDS)


def planned_job(plan: RunPlan, *, run_id: UUID, job_id: UUID, project_id: UUID, ordinal: int) -> ImageJob:
    """A job before its first step."""
    planned = plan.jobs[ordinal]
    return ImageJob(
        run_id=run_id,
        job_id=job_id,
        project_id=project_id,
        ordinal=ordinal,
        planned=planned,
        styles=plan.styles,
        references=plan.references,
        stage=plan.stage,
        time_of_day=plan.time_of_day,
        weather=plan.weather,
        guard=plan.guard,
        checks=plan.checks,
        tools=plan.tools,
        provider=plan.provider,
        model=plan.model,
        size=plan.size,
        quality=plan.quality,
        seed=with_fixed_seed(plan, ordinal).seed or 0,
        candidate_count=plan.candidates,
    )


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
