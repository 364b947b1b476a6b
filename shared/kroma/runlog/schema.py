"""The run log, version 2: the original's fields (pipeline.md 8) and what they lacked.

Added over the original: ``log_version``, ids of every row, ISO stamps, ``provider``, ``seed``,
``steps`` with times, reasons and checksums per candidate, errors, and ``cost_events``.
A reader takes version 2 and both generations of the original, ``kroma.runlog.reader``.

``gc=False``: nothing here points back to its owner, and the collector would walk a large log again
and again while it is being decoded.
"""

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.settings import QualitySettings

LOG_VERSION = 2

# What the columns hold, checked when a log is read, where the field still has a name.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Excess: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=10**6)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(gt=-(10**12), lt=10**12)]


class GenerationLog(msgspec.Struct, gc=False, kw_only=True):
    """How many candidates were asked for, and the manifest's cap."""

    candidates: Count
    max_candidates: int


class GuardLog(msgspec.Struct, gc=False, kw_only=True):
    """The colour guard's settings."""

    enabled: bool
    enforce_grayscale: bool
    max_chroma_delta: float
    fail_on_chroma_exceed: bool


class PostprocessLog(msgspec.Struct, gc=False, kw_only=True):
    """The planned post-processing (pipeline.md 7.1)."""

    upscale: bool = False
    upscale_backend: str | None = None
    color: bool = False
    color_profile: str | None = None
    bg_remove: bool = False
    bg_remove_backends: list[str] = []
    bg_refine_openai: bool = False
    bg_refine_openai_required: bool = False
    pipeline_order: list[str] = msgspec.field(default_factory=lambda: ["generate"])


class StorageLog(msgspec.Struct, gc=False, kw_only=True):
    """Where the pictures are."""

    project_root: str
    resolved_from_backend: bool = True


class StepLog(msgspec.Struct, gc=False, kw_only=True):
    """One finished step of a job."""

    name: str
    started_at: str
    finished_at: str
    duration_ms: float


class RankLog(msgspec.Struct, gc=False, kw_only=True):
    """What the colour guard counted, as in the original; ``quality`` beside it has the other checks."""

    hard_failures: Count = 0
    soft_warnings: Count = 0
    avg_chroma_exceed: Excess = 0.0


class GuardFileLog(msgspec.Struct, gc=False, kw_only=True):
    """The guard's word on one file (pipeline.md 6.2)."""

    file: str
    chroma_delta: float | None = None
    grayscale_like: bool | None = None
    hard_fail_reasons: list[str] = []
    soft_warnings: list[str] = []
    error: str | msgspec.UnsetType = msgspec.UNSET


class GuardSummaryLog(msgspec.Struct, gc=False, kw_only=True):
    """Counters of a guard report; they count files, not reasons."""

    total_files: int = 0
    hard_failures: int = 0
    soft_warnings: int = 0


class GuardReportLog(msgspec.Struct, gc=False, kw_only=True):
    """The guard's report on one candidate."""

    checked_input: str
    summary: GuardSummaryLog
    files: list[GuardFileLog] = []
    bad_archive: str | None = None


class FileLog(msgspec.Struct, gc=False, kw_only=True):
    """A file a candidate left behind."""

    asset_id: UUID
    path: str
    """Key in the project."""
    storage_uri: str
    sha256: str
    size_bytes: Bytes
    mime_type: str
    width: Count
    height: Count


class DerivedLog(msgspec.Struct, gc=False, kw_only=True):
    """One picture that post-processing made of another."""

    step: Literal["bg_remove", "bg_refine_openai", "upscale", "color"]
    source: str
    """The picture that it was made of."""
    file: FileLog
    backend: str
    model: str = ""
    details: dict[str, Any] = {}
    """What the tool said of it."""
    provider_call_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """In the ledger; absent where it cost nothing."""
    provider_request_id: str | None = None
    cost_usd: float | None = None
    """None with a call: nobody knows."""


class ResultLog(msgspec.Struct, gc=False, kw_only=True):
    """The final check: the last picture of the chain beside the generated one."""

    is_good: bool
    reason: str
    structure: float | None = None
    drift: float | None = None
    shown: float | None = None


class CandidateLog(msgspec.Struct, gc=False, kw_only=True, omit_defaults=False):
    """One candidate. ``final_output`` is absent when it was rejected, as in the original."""

    id: UUID
    candidate_index: Count
    status: str
    output: str | msgspec.UnsetType = msgspec.UNSET
    final_output: str | msgspec.UnsetType = msgspec.UNSET
    rank: RankLog = msgspec.field(default_factory=RankLog)
    output_guard: GuardReportLog | msgspec.UnsetType = msgspec.UNSET
    quality: QualityReport | msgspec.UnsetType = msgspec.UNSET
    """All checks; absent where none was made."""
    file: FileLog | msgspec.UnsetType = msgspec.UNSET
    """The generated picture, where it lies now (``archive/bad`` when rejected)."""
    final_file: FileLog | msgspec.UnsetType = msgspec.UNSET
    """The last picture of the chain, when post-processing made another one."""
    bg_remove: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """As in the original (pipeline.md 8.3), like the next two."""
    upscale: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    color: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    derived: list[DerivedLog] | msgspec.UnsetType = msgspec.UNSET
    """Every picture of the chain, in the order they were made."""
    result: ResultLog | msgspec.UnsetType = msgspec.UNSET
    """What the final check said; absent where there was nothing to compare."""
    reason: str = ""
    """Why it stands where it stands, one sentence."""
    seed: int = 0
    provider: str = ""
    model: str = ""
    provider_request_id: str | None = None
    provider_call_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """In the ledger; absent where a call costs nothing."""
    parameters: dict[str, Any] = {}
    cost_usd: float | None = None
    duration_ms: float = 0.0
    error: str | msgspec.UnsetType = msgspec.UNSET
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    reused_from: UUID | msgspec.UnsetType = msgspec.UNSET
    """The candidate of an earlier run whose picture this is: no call was made, and nothing paid."""


class InputLog(msgspec.Struct, gc=False, kw_only=True):
    """One input picture and what it was when it was read."""

    ref: str
    """As the caller gave it."""
    role: Literal["scene", "style", "reference"]
    file: FileLog


class NamedTextLog(msgspec.Struct, gc=False, kw_only=True):
    """A text of the project, as it was when the run was planned."""

    id: UUID
    name: str
    text: str
    updated_at: str
    """ISO 8601 UTC: which version of it."""


class ReferenceLog(msgspec.Struct, gc=False, kw_only=True):
    """An item of a reference set, as it was when the run was planned."""

    id: UUID
    set_id: UUID
    set_name: str
    label: str
    text: str
    """Joins the prompt; may be empty."""
    path: str | None
    """A picture inside the project; ``JobLog.inputs`` has its checksum."""
    weight: float = 1.0
    """Heavier ones come first."""


class WordsLog(msgspec.Struct, gc=False, kw_only=True):
    """What the prompts of a run were made of, beside the manifest's texts."""

    template: NamedTextLog | None = None
    style_guide: NamedTextLog | None = None
    characters: list[NamedTextLog] = []
    references: list[ReferenceLog] = []
    """Heaviest first."""


class JobLog(msgspec.Struct, gc=False, kw_only=True):
    """One job; the optional fields are absent in a dry run, as in the original."""

    id: str
    """The job key; the original's name for it."""
    job_id: UUID
    mode: str
    time: str
    weather: str
    input_images: list[str]
    """As given: the scene first, then every style reference, then every reference of a character."""
    prompt: str
    status: str
    planned_generation: dict[str, int]
    planned_postprocess: PostprocessLog
    planned_output_guard: GuardLog
    seed: int = 0
    selected_candidate: Count | msgspec.UnsetType | None = msgspec.UNSET
    final_output: str | msgspec.UnsetType | None = msgspec.UNSET
    output: str | msgspec.UnsetType = msgspec.UNSET
    failure_reason: str | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    error_kind: str | msgspec.UnsetType = msgspec.UNSET
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    output_guard: GuardReportLog | msgspec.UnsetType = msgspec.UNSET
    bg_remove: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """The winner's, like the next two."""
    upscale: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    color: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    candidates: list[CandidateLog] | msgspec.UnsetType = msgspec.UNSET
    inputs: list[InputLog] = []
    steps: list[StepLog] = []
    attempts: Count = 0
    started_at: str | None = None
    finished_at: str | None = None


class CostLog(msgspec.Struct, gc=False, kw_only=True):
    """One charge; ``id`` is the cost event's."""

    id: UUID
    provider_code: str
    model_name: str
    operation: str
    units: Amount
    cost_usd: Amount | None
    """None: the price is not known, which is not the same as nothing."""
    currency: str = "USD"
    job_id: str = ""
    """The job's key, as in the original's cost events."""
    candidate_index: int = 0
    provider_request_id: str | None = None


class CheckRunLog(msgspec.Struct, gc=False, kw_only=True):
    """One check over all candidates of a run."""

    passed: Count = 0
    warnings: Count = 0
    failed: Count = 0
    unmeasured: Count = 0
    mean_score: float | None = None
    """Of those that were measured."""
    lowest_score: float | None = None


class QualityRunLog(msgspec.Struct, gc=False, kw_only=True):
    """The checks over all candidates of a run."""

    settings: QualitySettings
    candidates: Count = 0
    """That were checked."""
    failures: Count = 0
    """Checks that rejected, over all candidates; the colour guard's not counted."""
    warnings: Count = 0
    mean_score: float | None = None
    checks: dict[str, CheckRunLog] = {}


class RunLog(msgspec.Struct, gc=False, kw_only=True):
    """The record of one run, written when its last job ended."""

    timestamp: str
    """ISO 8601 UTC, when the run was triggered."""
    project: str
    mode: str
    stage: str
    time: str
    weather: str
    model: str
    size: str
    quality: str
    generation: GenerationLog
    postprocess: PostprocessLog
    output_guard: GuardLog
    storage: StorageLog
    jobs: list[JobLog]
    log_version: int = LOG_VERSION
    run_id: UUID
    project_id: UUID
    status: str
    provider: str
    seed: int
    steps: list[str]
    """Names of the pipeline's steps, in order."""
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    cost_events: list[CostLog] = []
    checks: QualityRunLog | msgspec.UnsetType = msgspec.UNSET
    """Absent in a dry run, which makes nothing to check."""
    words: WordsLog | msgspec.UnsetType = msgspec.UNSET
    """Absent where the prompts are the manifest's alone."""
    baseline_run_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """The run whose pictures were the scenes; absent where files were."""
