"""Cost events: what a call cost."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from kroma.db.base import Base, Created, Identified


class CostEvent(Identified, Created, Base):
    """One charge, or one free call of a provider whose price is known to be nothing."""

    __tablename__ = "cost_events"
    __table_args__ = (
        Index("ix_cost_events_listed", "project_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_cost_events_provider", "project_id", "provider_code", text("created_at DESC"), text("id DESC")
        ),
        Index("ix_cost_events_run_id", "run_id", text("created_at DESC"), text("id DESC")),
    )

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    job_id: Mapped[str | None]
    """The job's key in its run log, verbatim (contract section 4), not a row's id."""
    provider_code: Mapped[str]
    model_name: Mapped[str | None]
    event_type: Mapped[str]
    units: Mapped[Decimal] = mapped_column(Numeric(18, 6), default=Decimal(0))
    unit_cost_usd: Mapped[Decimal] = mapped_column(Numeric(18, 6), default=Decimal(0))
    total_cost_usd: Mapped[Decimal] = mapped_column(Numeric(18, 6), default=Decimal(0))
    currency: Mapped[str] = mapped_column(default="USD", server_default="USD")
    meta_json: Mapped[Any] = mapped_column(default=dict, server_default=text("'{}'"))
