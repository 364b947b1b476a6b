"""Bodies of ``/api/projects/{slug}/quality-reports``."""

from typing import Any, Self

import msgspec

from kroma.quality.models import QualityReport
from kroma_api.schemas.reply import Id, ListReply, OptionalId, Stamp, shown_id, shown_json, shown_stamp


class QualityReportView(msgspec.Struct, frozen=True, kw_only=True):
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

    @classmethod
    def of(cls, report: QualityReport) -> Self:
        """Show a report."""
        return cls(
            id=str(report.id),
            project_id=str(report.project_id),
            run_id=shown_id(report.run_id),
            job_id=shown_id(report.job_id),
            candidate_id=shown_id(report.candidate_id),
            asset_id=shown_id(report.asset_id),
            report_type=report.report_type,
            grade=report.grade,
            hard_failures=report.hard_failures,
            soft_warnings=report.soft_warnings,
            avg_chroma_exceed=float(report.avg_chroma_exceed),
            summary_json=shown_json(report.summary_json),
            created_at=shown_stamp(report.created_at),
        )


class ListQualityReportsResponse(ListReply, frozen=True, kw_only=True):
    """Quality reports, newest first."""

    quality_reports: list[QualityReportView]
