"""Quality reports: what the checks, or a person, said of a picture."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class QualityReport(Identified, Created, Base):
    """One judgment: of a candidate, or of a whole run when no asset is named."""

    __tablename__ = "quality_reports"
    __table_args__ = (
        Index("ix_quality_reports_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index("ix_quality_reports_run_id", "run_id"),
        Index("ix_quality_reports_job_id", "job_id"),
        Index("ix_quality_reports_candidate_id", "candidate_id"),
        Index("ix_quality_reports_asset_id", "asset_id"),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("run_jobs.id", ondelete="CASCADE"))
    candidate_id: Mapped[UUID | None] = mapped_column(ForeignKey("run_candidates.id", ondelete="CASCADE"))
    asset_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id", ondelete="SET NULL"))
    report_type: Mapped[str]
    grade: Mapped[str] = mapped_column(default="", server_default="")
    hard_failures: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    soft_warnings: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    avg_chroma_exceed: Mapped[Decimal] = mapped_column(
        Numeric(12, 6), default=Decimal(0), server_default=text("0")
    )
    summary_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
