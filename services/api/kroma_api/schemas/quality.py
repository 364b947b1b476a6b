"""Bodies of ``/api/projects/{slug}/quality-reports``."""

from typing import Any

from kroma_api.schemas.reply import (
    Id,
    ListReply,
    OptionalId,
    RowView,
    Stamp,
)


class QualityReportView(RowView, frozen=True, kw_only=True):
    """What the checks said of a picture, or of a whole run."""

    id: Id
    project_id: Id
    run_id: OptionalId
    job_id: OptionalId
    candidate_id: OptionalId
    asset_id: OptionalId
    report_type: str
    """What was checked."""
    grade: str
    """Empty when none was given."""
    hard_failures: int
    """Findings that reject the picture."""
    soft_warnings: int
    """Findings that only rank it lower."""
    avg_chroma_exceed: float
    """The average amount by which chroma exceeds the limit, in CIELAB units."""
    summary_json: Any
    """The findings."""
    created_at: Stamp


class ListQualityReportsResponse(ListReply, frozen=True, kw_only=True):
    """Quality reports, newest first."""

    quality_reports: list[QualityReportView]
