"""Bodies of what stops, repeats and pauses work."""

from typing import Self

import msgspec

from kroma.projects.models import Project
from kroma.runs.models import Run
from kroma_api.schemas.reply import Id, Reply, RowView, Stamp
from kroma_api.schemas.runs import RunLinks, RunView


class RetryRunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/{run_id}/retry``."""

    confirm_spend: bool | None = None
    """Must be true where calls may cost money."""


class RerunRunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/runs/{run_id}/rerun``; what is absent is as it was."""

    confirm_spend: bool | None = None
    """Must be true where calls may cost money."""
    job_id: str | None = None
    """Only this job of the run, like the one that a picture says it was made by."""
    candidates: int | None = None
    """1 to 6 per scene."""
    seed: int | None = None
    """0 to 9223372036854775807."""
    provider: str | None = None
    """Another one takes its own defaults for what is absent of model, size and quality."""
    model: str | None = None
    """One of the provider's."""
    size: str | None = None
    """`<width>x<height>` in pixels."""
    quality: str | None = None
    """`low`, `medium` or `high`, for providers that take one."""
    stage: str | None = None
    """`style`, `time`, `weather` or `character`."""
    time: str | None = None
    """`day` or `night`; needs stage `time` or `weather`."""
    weather: str | None = None
    """`clear` or `rain`; needs stage `weather`."""


class PauseProjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/pause``."""

    reason: str | None = None
    """Shown on every run that waits."""


class CancelRunResponse(Reply, frozen=True, kw_only=True):
    """The run as it is now."""

    run: RunView


class RepeatRunResponse(Reply, frozen=True, kw_only=True):
    """The new run, queued."""

    run: RunView
    origin_run_id: Id
    """The run it repeats."""
    origin_kind: str
    """``retry`` or ``rerun``."""
    estimated_usd: float | None
    """What its calls may cost; null when unknown."""
    links: RunLinks

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            run=RunView.of(run),
            origin_run_id=str(run.origin_run_id),
            origin_kind=run.origin_kind or "",
            estimated_usd=None if run.estimated_usd is None else float(run.estimated_usd),
            links=RunLinks.of(run),
        )


class PausedProjectView(RowView, frozen=True, kw_only=True):
    """Whether a project's work goes on."""

    id: Id
    slug: str
    name: str
    paused: bool
    paused_at: Stamp
    paused_reason: str

    @classmethod
    def of(cls, project: Project) -> Self:
        return cls.from_row(project, paused=project.paused_at is not None)


class PausedProjectResponse(Reply, frozen=True, kw_only=True):
    """The project as it is now."""

    project: PausedProjectView
