"""Bodies of choosing candidates and locking baselines."""

from typing import Self

import msgspec
from msgspec import UNSET, UnsetType

from kroma.baselines.models import Baseline
from kroma.pipeline.control.baseline import LockedBaselines
from kroma.pipeline.control.select import Selection
from kroma_api.schemas.reply import (
    AuditId,
    Id,
    ListReply,
    OptionalId,
    Reply,
    RowView,
    Stamp,
    shown_id,
)
from kroma_api.schemas.runs import JobView, RunLinks, RunView


class SelectCandidateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/{run_id}/jobs/{job_id}/select``."""

    candidate_index: int | UnsetType = UNSET
    """The index of the candidate to approve, from 1."""
    note: str | None = None
    """Why; kept in the quality report."""
    confirm_spend: bool | None = None
    """Must be true where its post-processing may cost money."""


class FollowUpView(msgspec.Struct, frozen=True, kw_only=True):
    """The run that post-processes a chosen candidate."""

    run: RunView
    links: RunLinks


class SelectCandidateResponse(Reply, frozen=True, kw_only=True):
    """The job with its new choice."""

    job: JobView
    quality_report_id: Id
    """The review: a quality report of the type `human_review` with the grade `approved`."""
    follow_up: FollowUpView | None
    """What makes the files that the candidate lacks; null where it lacks none, or none are asked for."""
    audit_id: AuditId

    @classmethod
    def of(cls, choice: Selection) -> Self:
        run = choice.follow_up
        return cls(
            job=JobView.of(choice.job, choice.job.candidates),
            quality_report_id=str(choice.review_id),
            follow_up=None if run is None else FollowUpView(run=RunView.of(run), links=RunLinks.of(run)),
            audit_id=str(choice.audit_id),
        )


class LockBaselineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/{run_id}/lock-baseline``."""

    job_keys: list[str] | None = None
    """The keys of the jobs to lock; if absent, every job that has a selected picture."""
    note: str | None = None
    """Why."""


class BaselineView(RowView, frozen=True, kw_only=True):
    """The picture that was locked for a scene."""

    id: Id
    project_id: Id
    scene_sha256: str
    """The content it belongs to: a copy of the scene has it, too."""
    scene_path: str
    """The path of the scene."""
    run_id: OptionalId
    job_id: OptionalId
    job_key: str
    candidate_id: OptionalId
    candidate_index: int
    asset_id: OptionalId
    path: str
    """The picture, as it was generated."""
    sha256: str
    mime_type: str
    width: int
    height: int
    stage: str
    time_of_day: str
    weather: str
    note: str
    current: bool
    """Whether no later lock took its place."""
    locked_at: Stamp
    replaced_at: Stamp

    @classmethod
    def of(cls, baseline: Baseline) -> Self:
        return cls.from_row(baseline, current=baseline.replaced_at is None)


class SkippedJobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job of the run that has nothing to lock."""

    job_key: str
    reason: str


class LockBaselineResponse(Reply, frozen=True, kw_only=True):
    """What is locked now."""

    baselines: list[BaselineView]
    """One for each scene of the run, in plan order."""
    skipped: list[SkippedJobView]
    audit_id: OptionalId
    """Empty when all of it was locked before."""

    @classmethod
    def of(cls, locked: LockedBaselines) -> Self:
        return cls(
            baselines=[BaselineView.of(row) for row in locked.baselines],
            skipped=[SkippedJobView(job_key=one.job_key, reason=one.reason) for one in locked.skipped],
            audit_id=shown_id(locked.audit_id),
        )


class ListBaselinesResponse(ListReply, frozen=True, kw_only=True):
    """Baselines, last locked first."""

    baselines: list[BaselineView]
