"""The frozen plan of a run: everything its workers need, decided once by the trigger."""

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
"""Of a plan with words, references or a chosen candidate: an older worker would make something else of it."""


class PlannedPicture(msgspec.Struct, frozen=True, kw_only=True):
    """An input picture whose header was readable when the run was planned."""

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
    """Of its own; None is the run's plus the job's position, so that two scenes never share one."""
    baseline: PlannedPicture | None = None
    """The picture that was locked for a scene of this content; candidates are measured against it."""
    chosen: CandidateLog | None = None
    """The candidate of an earlier run that a person chose: it is taken as it is, and nothing is generated."""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will do."""

    version: int = PLAN_VERSION
    mode: RunMode
    stage: Stage
    time_of_day: TimeOfDay
    weather: Weather
    jobs: tuple[PlannedJob, ...]
    styles: tuple[PlannedPicture, ...]
    references: tuple[PlannedPicture, ...] = ()
    """Pictures of characters, most important first; their identity is to be kept."""
    words: WordsLog | None = None
    """Texts of the project that the prompts are made of; None where there are only the manifest's."""
    baseline_run_id: UUID | None = None
    """The run whose pictures are the scenes."""
    candidates: int
    max_candidates: int
    guard: GuardSettings
    checks: QualitySettings = msgspec.field(default_factory=QualitySettings)
    postprocess: PostprocessLog
    tools: PlannedTools | None = None
    """What ``postprocess`` means in detail; None is nothing, or a plan of before there were tools."""
    warnings: tuple[str, ...] = ()
    """What a dry run found that a run would be refused for."""
    provider: str
    model: str = ""
    size: str | None = None
    quality: str | None = None
    seed: int
    """0 to 2**63 - 1; every candidate's variation follows from it."""
    project_slug: str
    project_root: str
    """The resolved absolute root, where the run's store opens."""
    real_root: str | None = None
    """What was registered as the project's root; None where files are in a bucket."""
    storage_sync_s3: bool = False
    takes_former: bool = False
    """Whether candidates that the project made before of the same inputs are taken and not made again."""
    request_id: str | None = None
    """Of the request that asked for it, for the lines of its workers' logs."""
    log_version: Literal[2] = 2
    settings_snapshot: dict[str, Any] = {}
    """What the plan was made from (pipeline.md 9.2), for a column of its own; the stored plan lacks it."""
