"""The run log, version 2: the original's fields (pipeline.md 8) and additions.

Added are ``log_version``, ids of every row, ISO timestamps, ``provider``, ``seed``, ``steps`` with times,
reasons and checksums per candidate, errors, and ``cost_events``.

``gc=False`` is safe since there are no reference cycles; otherwise the garbage collector would walk a large
log repeatedly while it is decoded.
"""

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.settings import QualitySettings

LOG_VERSION = 2

# The limits of the database columns, checked on reading, when an error can still name the field.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Excess: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=10**6)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(gt=-(10**12), lt=10**12)]


class GenerationLog(msgspec.Struct, gc=False, kw_only=True):
    """The requested number of candidates, and the manifest's limit."""

    candidates: Count
    max_candidates: int


class GuardLog(msgspec.Struct, gc=False, kw_only=True):
    """The color guard's settings."""

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
    """Where the project's files are."""

    project_root: str
    resolved_from_backend: bool = True


class StepLog(msgspec.Struct, gc=False, kw_only=True):
    """One finished step of a job."""

    name: str
    started_at: str
    finished_at: str
    duration_ms: float


class RankLog(msgspec.Struct, gc=False, kw_only=True):
    """The color guard's counts, as in the original; ``quality`` has the other checks."""

    hard_failures: Count = 0
    soft_warnings: Count = 0
    avg_chroma_exceed: Excess = 0.0


class GuardFileLog(msgspec.Struct, gc=False, kw_only=True):
    """The guard's report on one file (pipeline.md 6.2)."""

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
    """A stored picture."""

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
    """One picture that post-processing made from another."""

    step: Literal["bg_remove", "bg_refine_openai", "upscale", "color"]
    source: str
    """Path of the picture it was made from."""
    file: FileLog
    backend: str
    model: str = ""
    details: dict[str, Any] = {}
    """The tool's own data."""
    provider_call_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """The call in the ledger; absent if it was free."""
    provider_request_id: str | None = None
    cost_usd: float | None = None
    """None with a call means unknown."""


class ResultLog(msgspec.Struct, gc=False, kw_only=True):
    """The final check, which compares the last picture of the chain with the generated one."""

    is_good: bool
    reason: str
    structure: float | None = None
    drift: float | None = None
    shown: float | None = None


class CandidateLog(msgspec.Struct, gc=False, kw_only=True, omit_defaults=False):
    """One candidate; as in the original, ``final_output`` is absent if it was rejected."""

    id: UUID
    candidate_index: Count
    status: str
    output: str | msgspec.UnsetType = msgspec.UNSET
    final_output: str | msgspec.UnsetType = msgspec.UNSET
    rank: RankLog = msgspec.field(default_factory=RankLog)
    output_guard: GuardReportLog | msgspec.UnsetType = msgspec.UNSET
    quality: QualityReport | msgspec.UnsetType = msgspec.UNSET
    """All checks; absent if none was made."""
    file: FileLog | msgspec.UnsetType = msgspec.UNSET
    """The generated picture at its current path (``archive/bad`` if rejected)."""
    final_file: FileLog | msgspec.UnsetType = msgspec.UNSET
    """The last picture of the chain, if post-processing made another one."""
    bg_remove: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """As in the original (pipeline.md 8.3), like the next two."""
    upscale: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    color: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    derived: list[DerivedLog] | msgspec.UnsetType = msgspec.UNSET
    """Every picture of the chain, in order."""
    result: ResultLog | msgspec.UnsetType = msgspec.UNSET
    """Absent if there was nothing to compare."""
    reason: str = ""
    """Why it has its rank, in one sentence."""
    seed: int = 0
    provider: str = ""
    model: str = ""
    provider_request_id: str | None = None
    provider_call_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """The call in the ledger; absent if it was free."""
    parameters: dict[str, Any] = {}
    cost_usd: float | None = None
    duration_ms: float = 0.0
    error: str | msgspec.UnsetType = msgspec.UNSET
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    reused_from: UUID | msgspec.UnsetType = msgspec.UNSET
    """The earlier run's candidate whose picture was reused without a new call."""


class InputLog(msgspec.Struct, gc=False, kw_only=True):
    """One input picture, as it was when it was read."""

    ref: str
    """As given by the caller."""
    role: Literal["scene", "style", "reference"]
    file: FileLog


class NamedTextLog(msgspec.Struct, gc=False, kw_only=True):
    """A text of the project, as it was when the run was planned."""

    id: UUID
    name: str
    text: str
    updated_at: str
    """ISO 8601 UTC."""


class ReferenceLog(msgspec.Struct, gc=False, kw_only=True):
    """An item of a reference set, as it was when the run was planned."""

    id: UUID
    set_id: UUID
    set_name: str
    label: str
    text: str
    """Added to the prompt; may be empty."""
    path: str | None
    """A picture in the project; ``JobLog.inputs`` has its checksum."""
    weight: float = 1.0
    """Heavier ones come first."""


class WordsLog(msgspec.Struct, gc=False, kw_only=True):
    """What the run's prompts were made of, besides the manifest's texts."""

    template: NamedTextLog | None = None
    style_guide: NamedTextLog | None = None
    characters: list[NamedTextLog] = []
    references: list[ReferenceLog] = []
    """Heaviest first."""


class JobLog(msgspec.Struct, gc=False, kw_only=True):
    """One job; the optional fields are absent in a dry run, as in the original."""

    id: str
    """The job key, under the original's name."""
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
    """One cost event."""

    id: UUID
    provider_code: str
    model_name: str
    operation: str
    units: Amount
    cost_usd: Amount | None
    """None if unknown."""
    currency: str = "USD"
    job_id: str = ""
    """The job's key, as in the original's cost events."""
    candidate_index: int = 0
    provider_request_id: str | None = None


class CheckRunLog(msgspec.Struct, gc=False, kw_only=True):
    """One check, summarized over the run's candidates."""

    passed: Count = 0
    warnings: Count = 0
    failed: Count = 0
    unmeasured: Count = 0
    mean_score: float | None = None
    """Of the measured candidates."""
    lowest_score: float | None = None


class QualityRunLog(msgspec.Struct, gc=False, kw_only=True):
    """All checks, summarized over the run's candidates."""

    settings: QualitySettings
    candidates: Count = 0
    """Checked candidates."""
    failures: Count = 0
    """Failed hard checks, without the color guard's."""
    warnings: Count = 0
    mean_score: float | None = None
    checks: dict[str, CheckRunLog] = {}


class RunLog(msgspec.Struct, gc=False, kw_only=True):
    """The record of one run, written after its last job."""

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
    """Absent in a dry run."""
    words: WordsLog | msgspec.UnsetType = msgspec.UNSET
    """Absent if the prompts came only from the manifest."""
    baseline_run_id: UUID | msgspec.UnsetType = msgspec.UNSET
    """The run whose pictures were the scenes, if the scenes were not files."""
