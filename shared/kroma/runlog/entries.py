"""What every run log says, whichever program wrote it: the shape that ingest reads.

``gc=False`` as in ``kroma.runlog.schema``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from kroma.runlog.schema import FileLog


class Picture(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A file a run read or made."""

    path: str
    """Forward slashes; relative to the project root when it lies inside."""
    file: FileLog | None = None
    """Checksum, size and shape; the original recorded none."""


class InputEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A picture a job started from."""

    role: Literal["scene", "style", "reference"]
    picture: Picture


class RankEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What a candidate was ranked by; zero where the log says nothing."""

    hard_failures: int = 0
    soft_warnings: int = 0
    avg_chroma_exceed: float = 0.0


class Derivation(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One picture of a candidate's chain."""

    step: str
    """``bg_remove``, ``bg_refine_openai``, ``upscale`` or ``color``."""
    picture: Picture


class CandidateEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One candidate."""

    id: UUID | None
    """None: the log carries no ids."""
    index: int
    status: str
    output: str | None
    """As the log has it."""
    final_output: str | None
    """As the log has it; None when it was rejected."""
    rank: RankEntry
    report: dict[str, Any]
    """What the checks said: ``output_guard``, ``quality`` and ``qa``, each where the log has it."""
    generated: Picture | None
    """The generated picture where it lies now: in the archive when it was rejected as it was."""
    last: Picture | None
    """The last picture of the chain where it lies now, when post-processing made another one."""
    chain: tuple[Derivation, ...] = ()
    """What post-processing made of the generated one, in order; the original told only of the last."""
    meta: Any
    """The whole entry."""


class JobEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One job."""

    key: str
    """Unique in its log."""
    id: UUID | None
    status: str
    prompt: str
    selected_candidate: int | None
    final_output: str | None
    """As the log has it."""
    final: Picture | None
    candidates: tuple[CandidateEntry, ...]
    inputs: tuple[InputEntry, ...]
    """The scene first."""
    meta: Any
    """The whole entry."""
    attempts: int = 0
    error: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class CostEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One charge."""

    id: UUID | None
    provider: str
    operation: str
    units: Decimal
    total_usd: Decimal
    currency: str
    model: str | None
    job_key: str | None
    """Verbatim; nothing promises that such a job exists."""
    meta: Any


class RunEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One run."""

    id: UUID | None
    """None: the original wrote the log, and its rows are known by the log's path."""
    project: str
    """The slug the log names; blank when it names none."""
    mode: Literal["dry", "run"]
    stage: str | None
    time: str | None
    weather: str | None
    provider: str | None
    model: str | None
    size: str | None
    quality: str | None
    status: str
    """``ok``, ``partial``, ``failed``, ``canceled`` or ``unknown``."""
    candidates: int
    """Asked for per job, at least 1."""
    settings: dict[str, Any]
    output_guard: Any
    """None: the log has no guard settings, and the run gets no report of its own."""
    jobs: tuple[JobEntry, ...]
    """In plan order."""
    costs: tuple[CostEntry, ...]
    checks: Any = None
    """The checks over all candidates; None where the log has none."""
    error: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_ours(self) -> bool:
        """Whether Kroma wrote the log, so that its rows normally exist already."""
        return self.id is not None


def derived_status(statuses: list[str]) -> str:
    """A run's status from its jobs' (pipeline.md 8.5)."""
    if any(status.startswith("failed") for status in statuses):
        return "failed"
    if statuses and all(status in {"done", "planned"} for status in statuses):
        return "ok"
    return "partial"
