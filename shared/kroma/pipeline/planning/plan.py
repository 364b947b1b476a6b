"""The frozen plan of a run: everything its workers need, decided by the trigger."""

from typing import Any, Literal
from uuid import UUID

import msgspec

from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.settings import QualitySettings
from kroma.postprocess.specs import PlannedTools
from kroma.runlog.schema import CandidateLog, PostprocessLog, WordsLog
from kroma.runs.models import RunMode, Stage, TimeOfDay, Weather

PLAN_VERSION = 1
FULLER_PLAN_VERSION = 2
"""For plans with words, references or a chosen candidate, which an older worker would ignore."""


class PlannedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """An input picture, as its header described it when the run was planned."""

    ref: str
    """As the caller or the manifest gave it."""
    key: str
    """Its key in the project's store."""
    mime_type: str
    width: int
    height: int
    size_bytes: int


class PlannedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One image to make."""

    job_key: str
    prompt: str
    scene: PlannedPicture
    seed: int | None = None
    """None takes the run's seed plus the job's position, so that no two scenes share one."""
    baseline: PlannedPicture | None = None
    """The picture locked for a scene with this content; candidates are measured against it."""
    chosen: CandidateLog | None = None
    """The selected candidate of an earlier run; it is only post-processed, and nothing is generated."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will make."""

    version: int = PLAN_VERSION
    mode: RunMode
    stage: Stage
    time_of_day: TimeOfDay
    weather: Weather
    jobs: tuple[PlannedJob, ...]
    styles: tuple[PlannedPicture, ...]
    references: tuple[PlannedPicture, ...] = ()
    """Pictures of characters whose identity must be kept, most important first."""
    words: WordsLog | None = None
    """The project's texts in the prompts; None if the prompts use only the manifest's."""
    baseline_run_id: UUID | None = None
    """The run that provided the scenes."""
    candidates: int
    max_candidates: int
    guard: GuardSettings
    checks: QualitySettings = msgspec.field(default_factory=QualitySettings)
    postprocess: PostprocessLog
    tools: PlannedTools | None = None
    """The details of ``postprocess``; None if every step is off, and in plans older than the tools."""
    warnings: tuple[str, ...] = ()
    """Found by a dry run; a run in mode ``run`` would be refused for them."""
    provider: str
    model: str = ""
    size: str | None = None
    quality: str | None = None
    seed: int
    """0 to 2**63 - 1; the seeds of all jobs derive from it."""
    project_slug: str
    project_root: str
    """The resolved absolute root of the run's store."""
    real_root: str | None = None
    """The project's registered root on disk; None if its files are in a bucket."""
    storage_sync_s3: bool = False
    takes_former: bool = False
    """Whether to reuse candidates that the project has already made from the same inputs."""
    request_id: str | None = None
    """The trigger's request, for the workers' logs."""
    log_version: Literal[2] = 2
    settings_snapshot: dict[str, Any] = {}
    """The settings of the plan (pipeline.md 9.2); stored in its own column and not in the stored plan."""
