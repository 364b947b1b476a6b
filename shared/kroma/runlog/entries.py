"""The content of a run log in the form that ingest reads, whichever program wrote it.

``gc=False`` as in ``kroma.runlog.schema``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from kroma.runlog.schema import FileLog


class Picture(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A file that a run read or made."""

    path: str
    """With forward slashes; relative to the project root if it is inside."""
    file: FileLog | None = None
    """Not recorded by the original."""


class InputEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """An input picture of a job."""

    role: Literal["scene", "style", "reference"]
    picture: Picture


class RankEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What a candidate was ranked by; 0 if the log does not say."""

    hard_failures: int = 0
    soft_warnings: int = 0
    avg_chroma_exceed: float = 0.0


class Derivation(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A picture made by post-processing."""

    step: str
    """``bg_remove``, ``bg_refine_openai``, ``upscale`` or ``color``."""
    picture: Picture


class CandidateEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One candidate."""

    id: UUID | None = None
    """None in logs of the original."""
    index: int
    status: str
    output: str | None = None
    """Verbatim."""
    final_output: str | None = None
    """Verbatim; None if rejected."""
    rank: RankEntry = RankEntry()
    report: dict[str, Any] = {}
    """The log's ``output_guard``, ``quality`` and ``qa``."""
    generated: Picture | None = None
    """The generated picture at its current path, which is in the archive if it was rejected."""
    last: Picture | None = None
    """The last picture of the chain at its current path, if post-processing made another one."""
    chain: tuple[Derivation, ...] = ()
    """Post-processed pictures in order; the original recorded only the last."""
    meta: Any = {}
    """The whole entry."""


class JobEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One job."""

    key: str
    """Unique in its log."""
    id: UUID | None = None
    status: str
    prompt: str
    selected_candidate: int | None
    final_output: str | None
    """Verbatim."""
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

    id: UUID | None = None
    provider: str
    operation: str
    units: Decimal
    total_usd: Decimal
    currency: str
    model: str | None
    job_key: str | None = None
    """Verbatim; such a job may not exist."""
    meta: Any


class RunEntry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One run."""

    id: UUID | None = None
    """None in logs of the original, whose runs are identified by the log's path."""
    project: str
    """The project's slug; blank if missing."""
    mode: Literal["dry", "run"]
    stage: str | None
    time: str | None
    weather: str | None
    provider: str | None = None
    model: str | None
    size: str | None
    quality: str | None
    status: str
    """``ok``, ``partial``, ``failed``, ``canceled`` or ``unknown``."""
    candidates: int
    """Requested per job, at least 1."""
    settings: dict[str, Any]
    output_guard: Any
    """None if the log has no guard settings; the run then gets no report."""
    jobs: tuple[JobEntry, ...]
    """In plan order."""
    costs: tuple[CostEntry, ...]
    checks: Any = None
    """Summary of the checks of all candidates, if the log has one."""
    error: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_ours(self) -> bool:
        """Whether Kroma wrote the log; its rows normally exist already."""
        return self.id is not None


def derived_status(statuses: list[str]) -> str:
    """A run's status, derived from its jobs' (pipeline.md 8.5)."""
    if any(status.startswith("failed") for status in statuses):
        return "failed"
    if statuses and all(status in {"done", "planned"} for status in statuses):
        return "ok"
    return "partial"
